// Where edges run, and which one lies under a point.

const COLUMN = 92;
const LEAST_ROW = 34;
const RADIUS = 7;
const CELL = 24;

// Height of a row, such that a graph fills a box of this shape (width / height).
function rowHeight({x, y}, shape) {
  const span = (values) => values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b));
  const width = (span(x) + 1) * COLUMN;
  const wanted = width / shape / (span(y) + 1.5);
  return Math.max(LEAST_ROW, Math.min(wanted, Math.max(80, 0.03 * width)));
}

// Curves of all edges of a graph, in the graph's own units. Edges that join the
// same two nodes bow apart, the two directions to different sides; loops of a
// node stand one within the other.
function layEdges(graph, row) {
  const {source, target} = graph.edges;
  const xs = graph.nodes.x.map((x) => x * COLUMN);
  const ys = graph.nodes.y.map((y) => y * row);
  const seen = new Map();
  const pairs = new Set(source.map((from, edge) => `${from} ${target[edge]}`));
  return source.map((from, edge) => {
    const to = target[edge];
    const pair = `${from} ${to}`;
    const place = seen.get(pair) || 0;
    seen.set(pair, place + 1);
    if (from === to) return loop(xs[from], ys[from], place);
    const both = pairs.has(`${to} ${from}`);
    return arc(xs[from], ys[from], xs[to], ys[to], place, both);
  });
}

function arc(x0, y0, x1, y1, place, both) {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  // A way over several columns, or within one, would run through other nodes.
  const long = Math.abs(x1 - x0) > 1.5 * COLUMN || Math.abs(x1 - x0) < 0.5 * COLUMN;
  const first = both ? 13 : long ? Math.min(10 + length * 0.07, 46) : 0;
  const bow = place === 0 ? first : first + 16 * place;
  const middle = [
    (x0 + x1) / 2 - ((y1 - y0) / length) * bow * 2,
    (y0 + y1) / 2 + ((x1 - x0) / length) * bow * 2,
  ];
  return shorten([x0, y0], middle, [x1, y1]);
}

// Ends a curve at the rims of its nodes.
function shorten(start, middle, end) {
  const toward = (from, to, by) => {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
    return [from[0] + ((to[0] - from[0]) / length) * by, from[1] + ((to[1] - from[1]) / length) * by];
  };
  return {
    kind: "arc",
    points: [toward(start, middle, RADIUS), middle, toward(end, middle, RADIUS + 2)],
  };
}

function loop(x, y, place) {
  const size = 17 + 9 * place;
  const side = 0.55 * size;
  return {
    kind: "loop",
    points: [
      [x - 4, y - RADIUS + 1],
      [x - side - 4, y - RADIUS - 1.25 * size],
      [x + side + 4, y - RADIUS - 1.25 * size],
      [x + 4, y - RADIUS - 1],
    ],
  };
}

function along({points}, t) {
  const s = 1 - t;
  const mix =
    points.length === 3
      ? [s * s, 2 * s * t, t * t]
      : [s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t];
  return [0, 1].map((axis) => points.reduce((sum, point, i) => sum + mix[i] * point[axis], 0));
}

// Finds edges near a point by points on them, kept in a grid of cells.
function makeFinder(curves) {
  const cells = new Map();
  curves.forEach((curve, edge) => {
    const [start, end] = [curve.points[0], curve.points[curve.points.length - 1]];
    const length = Math.hypot(end[0] - start[0], end[1] - start[1]) + 40;
    const count = Math.max(8, Math.min(160, Math.ceil(length / 8)));
    for (let i = 0; i <= count; i += 1) {
      const [x, y] = along(curve, i / count);
      const cell = `${Math.floor(x / CELL)} ${Math.floor(y / CELL)}`;
      if (!cells.has(cell)) cells.set(cell, []);
      cells.get(cell).push([x, y, edge]);
    }
  });
  return function find(x, y, reach) {
    const near = Math.min(Math.ceil(reach / CELL), 8);
    const [column, row] = [Math.floor(x / CELL), Math.floor(y / CELL)];
    let best = null;
    let least = reach;
    for (let i = column - near; i <= column + near; i += 1) {
      for (let j = row - near; j <= row + near; j += 1) {
        for (const [px, py, edge] of cells.get(`${i} ${j}`) || []) {
          const far = Math.hypot(px - x, py - y);
          if (far < least) [best, least] = [edge, far];
        }
      }
    }
    return best;
  };
}

function boundsOf(graph, curves, row) {
  const xs = graph.nodes.x.map((x) => x * COLUMN);
  const ys = graph.nodes.y.map((y) => y * row);
  for (const curve of curves) {
    const [x, y] = along(curve, 0.5);
    xs.push(x);
    ys.push(y);
  }
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  return [least(xs) - 40, least(ys) - 50, most(xs) + 50, most(ys) + 30];
}
