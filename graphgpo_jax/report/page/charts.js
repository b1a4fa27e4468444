// Curves over updates: mean and band of each group of runs.

const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 34;

const groupNames = [...new Set(data.runs.map((run) => run.group))];

// Exponential moving average that starts at the first value.
function smooth(values, weight) {
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

// Of each group that has the metric: steps, mean, least, most, seeds.
function groupCurves(metric, weight) {
  const curves = [];
  for (const [index, group] of groupNames.entries()) {
    const runs = data.runs.filter((run) => run.group === group && run.metrics[metric]);
    if (!runs.length) continue;
    const at = new Map();
    for (const run of runs) {
      const [steps, values] = run.metrics[metric];
      smooth(values, weight).forEach((value, place) => {
        if (!at.has(steps[place])) at.set(steps[place], []);
        at.get(steps[place]).push(value);
      });
    }
    // Where a run is shorter than others, a mean of the rest would jump.
    const whole = [...at].filter(([, values]) => values.length === runs.length);
    const points = (whole.length ? whole : [...at]).sort((a, b) => a[0] - b[0]);
    curves.push({
      name: group,
      index,
      seeds: runs.length,
      steps: points.map(([step]) => step),
      mean: points.map(([, values]) => values.reduce((a, b) => a + b) / values.length),
      least: points.map(([, values]) => Math.min(...values)),
      most: points.map(([, values]) => Math.max(...values)),
    });
  }
  return curves;
}

function niceTicks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) {
    ticks.push(Number(tick.toPrecision(12)));
  }
  return ticks;
}

function rangeOf(curves) {
  const low = Math.min(...curves.map((one) => Math.min(...one.least)));
  const high = Math.max(...curves.map((one) => Math.max(...one.most)));
  if (low >= 0 && high <= 1) return [0, 1];
  const room = (high - low) * 0.05 || 1;
  return [low >= 0 ? 0 : low - room, high + room];
}

function nearest(steps, wanted) {
  let best = 0;
  steps.forEach((step, place) => {
    if (Math.abs(step - wanted) < Math.abs(steps[best] - wanted)) best = place;
  });
  return best;
}

// Draws a metric into a box; left and right move the cursor that reads values.
function drawChart(box, metric, {weight = 0, width = 760, height = 280, label = metric} = {}) {
  const curves = groupCurves(metric, weight);
  if (!curves.length) {
    box.replaceChildren(element("p", {class: "hint"}, "Not in the metrics."));
    return;
  }
  const [low, high] = rangeOf(curves);
  const steps = curves.flatMap((one) => one.steps);
  const first = Math.min(...steps);
  const last = Math.max(...steps, first + 1);
  const x = (step) => LEFT + ((step - first) / (last - first)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (height - TOP - BOTTOM);
  const path = (xs, ys) => xs.map((one, i) => `${x(one).toFixed(1)},${y(ys[i]).toFixed(1)}`).join(" ");
  const said = curves
    .map((one) => `${one.name} ${plain(one.mean[one.mean.length - 1])}`)
    .join(", ");
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    tabindex: "0",
    "aria-label": `${label} by update. At the end: ${said}.`,
  });
  for (const tick of niceTicks(low, high, height > 200 ? 5 : 3)) {
    picture.append(
      svg("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick)}),
      svg("text", {x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end"}, plain(tick))
    );
  }
  for (const tick of niceTicks(first, last, width / 90).filter(Number.isInteger)) {
    picture.append(svg("text", {x: x(tick), y: height - BOTTOM + 18, "text-anchor": "middle"}, String(tick)));
  }
  picture.append(
    svg("text", {x: (LEFT + width - RIGHT) / 2, y: height - 3, "text-anchor": "middle"}, "updates")
  );
  for (const one of curves) {
    const {colour, dash} = lineStyle(one.index);
    if (one.seeds > 1) {
      const back = [...one.steps].reverse();
      const band = path(one.steps, one.most) + " " + path(back, [...one.least].reverse());
      picture.append(svg("polygon", {points: band, fill: colour, opacity: 0.16, class: "band"}));
    }
    picture.append(
      svg("polyline", {
        class: "mean",
        points: path(one.steps, one.mean),
        fill: "none",
        stroke: colour,
        "stroke-width": 2,
        "stroke-dasharray": dash,
        "stroke-linejoin": "round",
      })
    );
  }
  const cursor = svg("line", {class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden"});
  picture.append(cursor);
  const where = element("span", {class: "value"});
  const values = curves.map(() => element("span", {class: "value"}));
  const keys = element(
    "ul",
    {class: "keys"},
    ...curves.map((one, place) => {
      const {colour, dash} = lineStyle(one.index);
      return element(
        "li",
        {},
        svg(
          "svg",
          {width: 28, height: 10, "aria-hidden": "true"},
          svg("line", {x1: 0, x2: 28, y1: 5, y2: 5, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash})
        ),
        `${one.name} (${plural(one.seeds, "run")}) `,
        values[place]
      );
    }),
    element("li", {}, where)
  );
  let at = null;
  function show(step) {
    at = step;
    where.textContent = `at update ${step}`;
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
    cursor.setAttribute("visibility", "visible");
    curves.forEach((one, place) => {
      const found = nearest(one.steps, step);
      const spread = one.seeds > 1 ? ` (${plain(one.least[found])} to ${plain(one.most[found])})` : "";
      values[place].textContent = plain(one.mean[found]) + spread;
    });
  }
  const all = [...new Set(steps)].sort((a, b) => a - b);
  picture.addEventListener("pointermove", (event) => {
    const area = picture.getBoundingClientRect();
    const inside = ((event.clientX - area.left) / area.width) * width;
    show(all[nearest(all, first + ((inside - LEFT) / (width - LEFT - RIGHT)) * (last - first))]);
  });
  picture.addEventListener("keydown", (event) => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!move) return;
    event.preventDefault();
    const place = at == null ? all.length - 1 : nearest(all, at) + move;
    show(all[Math.max(0, Math.min(all.length - 1, place))]);
  });
  show(all[all.length - 1]);
  cursor.setAttribute("visibility", "hidden");
  box.replaceChildren(picture, keys);
}
