// The graph on a canvas: moving, zooming, drawing. What is hovered is asked of
// geometry.js. An SVG of some thousand edges would be slow to draw and to move.

const MANY_EDGES = 1500;

function makeCanvas(canvas, {onHover, onPick}) {
  const context = canvas.getContext("2d");
  const view = {scale: 1, x: 0, y: 0};
  let scene = null; // graph, curves, find, bounds, values, limit, path, step, edge
  let waiting = false;

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function resize() {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  }

  function fit() {
    if (!scene) return;
    const [x0, y0, x1, y1] = scene.bounds;
    const room = 26;
    const scale = Math.min(
      canvas.clientWidth / (x1 - x0),
      (canvas.clientHeight - room) / (y1 - y0),
      1.6
    );
    view.scale = scale;
    view.x = canvas.clientWidth / 2 - ((x0 + x1) / 2) * scale;
    view.y = (canvas.clientHeight - room) / 2 - ((y0 + y1) / 2) * scale;
    redraw();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const scale = Math.max(0.005, Math.min(8, view.scale * factor));
    view.x = x - ((x - view.x) / view.scale) * scale;
    view.y = y - ((y - view.y) / view.scale) * scale;
    view.scale = scale;
    redraw();
  }

  function move(dx, dy) {
    view.x += dx;
    view.y += dy;
    redraw();
  }

  const toScreen = ([x, y]) => [x * view.scale + view.x, y * view.scale + view.y];
  const toGraph = ([x, y]) => [(x - view.x) / view.scale, (y - view.y) / view.scale];

  function trace(curve) {
    const [start, ...rest] = curve.points.map(toScreen);
    context.beginPath();
    context.moveTo(...start);
    if (rest.length === 2) context.quadraticCurveTo(...rest.flat());
    else context.bezierCurveTo(...rest.flat());
  }

  function arrow(curve, colour, size) {
    const end = toScreen(along(curve, 1));
    const before = toScreen(along(curve, 0.9));
    const angle = Math.atan2(end[1] - before[1], end[0] - before[0]);
    context.beginPath();
    context.moveTo(...end);
    for (const turn of [2.7, -2.7]) {
      context.lineTo(end[0] + size * Math.cos(angle + turn), end[1] + size * Math.sin(angle + turn));
    }
    context.closePath();
    context.fillStyle = colour;
    context.fill();
  }

  function drawEdge(edge, {width, colour, fade = 1, dashed}) {
    const curve = scene.curves[edge];
    context.globalAlpha = fade;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dashed ? [5, 3] : []);
    trace(curve);
    context.stroke();
    context.setLineDash([]);
    const size = Math.min(9, 5 + width) * Math.min(1, view.scale * 1.4);
    if (size > 2.5) arrow(curve, colour, size);
    context.globalAlpha = 1;
  }

  function drawColumns(colours) {
    const bottom = canvas.clientHeight - 8;
    let free = -Infinity;
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    const place = ([x, width]) => [(x - width / 2) * COLUMN * view.scale + view.x, width * COLUMN * view.scale];
    context.fillStyle = colours.stripe;
    for (const column of scene.graph.columns.filter((_, number) => number % 2 === 0)) {
      const [left, wide] = place(column);
      if (wide > 12) context.fillRect(left, 0, wide, canvas.clientHeight);
    }
    scene.graph.columns.forEach(([x, width, distance, time], number) => {
      const [left, wide] = place([x, width]);
      const last = number === scene.graph.columns.length - 1;
      const label = last ? "success" : distance == null ? `t ${time}` : plain(distance);
      const half = context.measureText(label).width / 2;
      const middle = left + wide / 2;
      if (middle - half < free + 8) return;
      free = middle + half;
      context.fillStyle = colours.faint;
      context.fillText(label, middle, bottom);
    });
    const apart = scene.graph.columns.filter(([, , distance]) => distance == null);
    if (!apart.length) return;
    const [x, width] = apart[apart.length - 1];
    const edge = (x + width / 2 + 0.75) * COLUMN * view.scale + view.x;
    context.fillStyle = colours.faint;
    context.textAlign = "left";
    context.fillText("no way to success seen (t: first step there)", Math.max(8, view.x + (apart[0][0] - 0.5) * COLUMN * view.scale), 18);
    if (apart.length === scene.graph.columns.length - 1) return;
    context.strokeStyle = colours.faint;
    context.setLineDash([2, 5]);
    context.beginPath();
    context.moveTo(edge, 0);
    context.lineTo(edge, canvas.clientHeight);
    context.stroke();
    context.setLineDash([]);
  }

  function drawNodes(colours) {
    const {x, y, distance} = scene.graph.nodes;
    const radius = Math.max(1.2, RADIUS * Math.min(view.scale, 1.6));
    x.forEach((_, node) => {
      const [px, py] = toScreen([x[node] * COLUMN, y[node] * scene.row]);
      if (px < -20 || py < -20 || px > canvas.clientWidth + 20 || py > canvas.clientHeight + 20) return;
      context.beginPath();
      context.arc(px, py, node === 0 ? radius * 1.25 : radius, 0, 2 * Math.PI);
      context.fillStyle = node === 0 ? colours.success : distance[node] == null ? colours.unreachable : colours.node;
      context.fill();
      context.lineWidth = scene.starts.has(node) ? 2.6 : 1.2;
      context.strokeStyle = colours.nodeEdge;
      context.stroke();
    });
  }

  function draw() {
    if (!scene) return;
    resize();
    const ratio = window.devicePixelRatio || 1;
    const colours = palette();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = colours.back;
    context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    drawColumns(colours);
    const {values, limit, path, counts} = scene;
    // The strongest last, so that none hides them.
    const order = values.map((_, edge) => edge).sort((a, b) => Math.abs(values[a]) - Math.abs(values[b]));
    const thin = values.length > MANY_EDGES ? 0.7 : 1;
    for (const edge of order) {
      drawEdge(edge, {
        width: thin * Math.min(1 + Math.log2(counts[edge] + 1) * 0.7, 5) * Math.max(0.6, Math.min(view.scale, 1.5)),
        colour: advantageColour(values[edge], limit),
        fade: path && !path.has(edge) ? 0.3 : 1,
        dashed: values[edge] < 0 && view.scale > 0.35,
      });
    }
    for (const [edge, width] of [[scene.step, 4], [scene.edge, 3]]) {
      if (edge == null) continue;
      context.globalAlpha = 1;
      context.strokeStyle = colours.mark;
      context.lineWidth = width + 5;
      trace(scene.curves[edge]);
      context.stroke();
      drawEdge(edge, {width: width + 1, colour: advantageColour(values[edge], limit)});
    }
    drawNodes(colours);
  }

  // What lies under a point of the canvas: {node} or {edge} or null.
  function at(point) {
    if (!scene) return null;
    const [x, y] = toGraph(point);
    const reach = Math.min(8 / view.scale, 120);
    const {nodes} = scene.graph;
    let best = null;
    let least = Math.max(RADIUS, 5 / view.scale);
    nodes.x.forEach((_, node) => {
      const far = Math.hypot(nodes.x[node] * COLUMN - x, nodes.y[node] * scene.row - y);
      if (far < least) [best, least] = [node, far];
    });
    if (best != null) return {node: best};
    const edge = scene.find(x, y, reach);
    return edge == null ? null : {edge};
  }

  const place = (event) => {
    const area = canvas.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  };
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = {at: place(event), moved: false};
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    if (!held) {
      onHover(at(now), now);
      return;
    }
    const [dx, dy] = [now[0] - held.at[0], now[1] - held.at[1]];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    held = {at: now, moved: true};
    onHover(null, now);
    move(dx, dy);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (held && !held.moved) onPick(at(place(event)), place(event));
    held = null;
  });
  canvas.addEventListener("pointercancel", () => (held = null));
  canvas.addEventListener("pointerleave", () => onHover(null, [0, 0]));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0015), ...place(event));
    },
    {passive: false}
  );
  new ResizeObserver(redraw).observe(canvas);

  return {
    fit,
    move,
    redraw,
    zoom,
    // Shows another graph, all of it.
    open(graph, starts) {
      const row = rowHeight(graph.nodes, canvas.clientWidth / Math.max(canvas.clientHeight, 1));
      const curves = layEdges(graph, row);
      scene = {graph, row, starts, curves, find: makeFinder(curves), bounds: boundsOf(graph, curves, row), values: [], counts: [], limit: 0, path: null, step: null, edge: null};
      resize();
      fit();
    },
    // Changes what is shown of it: values, limit, counts, path, step, edge.
    show(changes) {
      if (scene) Object.assign(scene, changes);
      redraw();
    },
    // Middle of an edge on the canvas.
    middle(edge) {
      return toScreen(along(scene.curves[edge], 0.5));
    },
    // Moves an edge into sight.
    reveal(edge) {
      const [x, y] = this.middle(edge);
      const [w, h] = [canvas.clientWidth, canvas.clientHeight];
      if (x < 20 || y < 20 || x > w - 20 || y > h - 40) move(w / 2 - x, h / 2 - y);
    },
  };
}
