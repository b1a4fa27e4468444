// The section of graphs: which one, by which estimator, what is selected.

const ROWS_AT_ONCE = 100;

function startGraphs() {
  if (!data.graphs.length) {
    byId("no-graph").hidden = false;
    byId("graph-area").hidden = true;
    return {redraw() {}};
  }
  let graph = null;
  let edges = []; // of each: mean, least, most, count
  let limit = 1;
  let selected = null;
  let order = []; // edges as the keyboard goes through them
  let rows = ROWS_AT_ONCE;

  const canvas = makeCanvas(byId("graph"), {
    onHover: (found, point) => (found ? tell(found, point) : tell(null)),
    onPick: (found) => select(found && found.edge != null ? found.edge : null),
  });
  const stepper = makeStepper({onStep: (changes) => canvas.show(changes)});
  const estimator = () => byId("estimator").value;

  function summarise() {
    const values = graph.advantage[estimator()];
    edges = graph.edges.source.map(() => ({sum: 0, count: 0, least: Infinity, most: -Infinity}));
    graph.steps.edge.forEach((edge, step) => {
      const one = edges[edge];
      const value = values[step] || 0;
      one.sum += value;
      one.count += 1;
      one.least = Math.min(one.least, value);
      one.most = Math.max(one.most, value);
    });
    for (const one of edges) one.mean = one.sum / one.count;
    limit = edges.reduce((most, one) => Math.max(most, Math.abs(one.mean)), 0);
  }

  function valueText(edge) {
    const {mean, least, most, count} = edges[edge];
    if (count === 1) return `${signed(mean)} (1 step)`;
    const spread = most > least ? `, ${signed(least)} to ${signed(most)}` : "";
    return `${signed(mean)} (mean of ${count} steps${spread})`;
  }

  const nodeName = (node) =>
    node === 0 ? "SUCCESS" : `state ${node} (${graph.nodes.distance[node] == null ? "no way to success seen" : `distance ${plain(graph.nodes.distance[node])}`})`;

  function tell(found, point) {
    const tooltip = byId("tooltip");
    tooltip.hidden = !found;
    if (!found) return;
    const box = byId("graph-box");
    if (found.edge != null) {
      const edge = found.edge;
      tooltip.replaceChildren(
        element("div", {}, data.texts[graph.edges.action[edge]] || "step"),
        element("div", {}, `advantage by ${estimator()}: `, element("strong", {}, valueText(edge))),
        element("div", {}, `${nodeName(graph.edges.source[edge])} \u2192 ${nodeName(graph.edges.target[edge])}`)
      );
    } else {
      tooltip.replaceChildren(
        element("strong", {}, nodeName(found.node)),
        element("div", {class: "state"}, data.texts[graph.nodes.text[found.node]].slice(0, 600))
      );
    }
    const left = Math.min(point[0] + 14, box.clientWidth - tooltip.offsetWidth - 6);
    const below = point[1] + 16;
    const top = below + tooltip.offsetHeight > box.clientHeight ? point[1] - tooltip.offsetHeight - 10 : below;
    tooltip.style.left = `${Math.max(4, left)}px`;
    tooltip.style.top = `${Math.max(4, top)}px`;
  }

  function select(edge) {
    selected = edge;
    canvas.show({edge});
    if (edge == null) {
      tell(null);
      byId("selected").textContent = "";
      return;
    }
    canvas.reveal(edge);
    tell({edge}, canvas.middle(edge));
    byId("selected").textContent =
      `${data.texts[graph.edges.action[edge]] || "step"}, from ${nodeName(graph.edges.source[edge])} ` +
      `to ${nodeName(graph.edges.target[edge])}, advantage ${valueText(edge)}`;
  }

  function drawLegend() {
    const stops = [-1, -0.5, 0, 0.5, 1].map((share) => advantageColour(share * limit, limit));
    byId("legend").replaceChildren(
      element("span", {}, signed(-limit)),
      element("span", {
        class: "bar",
        role: "img",
        "aria-label": "Colours from the least advantage over zero to the largest",
        style: `background: linear-gradient(to right, ${stops.join(", ")})`,
      }),
      element("span", {}, signed(limit)),
      element("span", {class: "hint"}, `advantage by ${estimator()}, mean over an edge's steps; wider: more steps`)
    );
  }

  function drawTable() {
    const head = ["From", "To", "Action", "Steps", "Advantage", "Least", "Most"];
    const strongest = edges.map((_, edge) => edge).sort((a, b) => Math.abs(edges[b].mean) - Math.abs(edges[a].mean));
    byId("edges").replaceChildren(
      element("caption", {}, `Edges by ${estimator()}, the strongest first: ${Math.min(rows, edges.length)} of ${edges.length}`),
      element("thead", {}, element("tr", {}, ...head.map((name, i) => element("th", {scope: "col", class: i > 2 ? "number" : null}, name)))),
      element(
        "tbody",
        {},
        ...strongest.slice(0, rows).map((edge) =>
          element(
            "tr",
            {},
            element("td", {}, nodeName(graph.edges.source[edge])),
            element("td", {}, nodeName(graph.edges.target[edge])),
            element("td", {}, element("button", {type: "button", onclick: () => select(edge)}, (data.texts[graph.edges.action[edge]] || "step").slice(0, 60))),
            ...[String(edges[edge].count), ...["mean", "least", "most"].map((name) => signed(edges[edge][name]))].map((text) =>
              element("td", {class: "number"}, text)
            )
          )
        )
      )
    );
    byId("more-edges").hidden = rows >= edges.length;
  }

  function show() {
    summarise();
    canvas.show({values: edges.map((one) => one.mean), counts: edges.map((one) => one.count), limit});
    drawLegend();
    if (byId("edges-details").open) drawTable();
    if (selected != null) select(selected);
    byId("graph").setAttribute(
      "aria-label",
      `Graph of ${plural(graph.nodes.x.length, "state")} and ${plural(edges.length, "edge")}, coloured by the advantage of ${estimator()}; the edges are a table below, too`
    );
  }

  function open() {
    graph = data.graphs[Number(byId("task").value)];
    selected = null;
    rows = ROWS_AT_ONCE;
    tell(null);
    byId("selected").textContent = "";
    const starts = new Set();
    graph.steps.rollout.forEach((rollout, step) => {
      if (step === 0 || rollout !== graph.steps.rollout[step - 1]) starts.add(graph.edges.source[graph.steps.edge[step]]);
    });
    const {x} = graph.nodes;
    const from = (edge) => x[graph.edges.source[edge]];
    order = graph.edges.source.map((_, edge) => edge).sort((a, b) => from(a) - from(b) || a - b);
    canvas.open(graph, starts);
    show();
    stepper.open(graph, graph.advantage[estimator()]);
    drawFacts();
  }

  function drawFacts() {
    const {distance} = graph.nodes;
    const steps = graph.steps.edge.length;
    const closer = graph.steps.edge.filter((edge) => {
      const [before, after] = [distance[graph.edges.source[edge]], distance[graph.edges.target[edge]]];
      return after != null && (before == null || after < before);
    }).length;
    const reached = distance.filter((one) => one != null).length - 1;
    const visits = new Map();
    for (const edge of graph.steps.edge) {
      const from = graph.edges.source[edge];
      visits.set(from, (visits.get(from) || 0) + 1);
    }
    const single = [...visits.values()].filter((count) => count === 1).length;
    const won = graph.rollouts.success.filter(Boolean).length;
    const share = (part, whole) => `${Math.round((100 * part) / Math.max(whole, 1))} %`;
    byId("graph-facts").textContent =
      `${won} of ${plural(graph.rollouts.success.length, "rollout")} succeeded. ${plural(steps, "step")}, ` +
      `${share(closer, steps)} of them progress; ${plural(distance.length - 1, "state")}, ` +
      `${share(reached, distance.length - 1)} of them with a way to success; ` +
      `${share(single, visits.size)} of the states that were left were left once (singletons).`;
  }

  // How much a graph tells: the fewer its successes or its failures, the less.
  function worth(one) {
    const won = one.rollouts.success.filter(Boolean).length;
    return Math.min(won, one.rollouts.success.length - won);
  }

  const worthiest = (graphs) => graphs.reduce((best, one) => (worth(one) > worth(best) ? one : best));

  function listTasks() {
    const chosen = data.graphs.flatMap((one, place) =>
      String(one.run) === byId("run").value && String(one.update) === byId("update").value ? [[place, one]] : []
    );
    setOptions(
      byId("task"),
      chosen.map(([place, one]) => {
        const won = one.rollouts.success.filter(Boolean).length;
        return [place, `${one.task.slice(0, 48)} (${won}/${one.rollouts.success.length} succeeded)`];
      })
    );
    byId("task").value = String(data.graphs.indexOf(worthiest(chosen.map(([, one]) => one))));
    open();
  }

  function listUpdates() {
    const mine = data.graphs.filter((one) => String(one.run) === byId("run").value);
    const updates = [...new Set(mine.map((one) => one.update))];
    setOptions(byId("update"), updates.map((update) => [update, update]), worthiest(mine).update);
    listTasks();
  }

  function keys(event) {
    const arrow = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (arrow && event.shiftKey) canvas.move(-40 * arrow[0], -40 * arrow[1]);
    else if (arrow && arrow[0]) {
      const place = selected == null ? (arrow[0] > 0 ? -1 : order.length) : order.indexOf(selected);
      select(order[(place + arrow[0] + order.length) % order.length]);
    } else if (event.key === "+" || event.key === "=") canvas.zoom(1.25);
    else if (event.key === "-") canvas.zoom(0.8);
    else if (event.key === "0") canvas.fit();
    else if (event.key === "n") stepper.next();
    else if (event.key === "p") stepper.previous();
    else if (event.key === "Escape") select(null);
    else return;
    event.preventDefault();
  }

  setOptions(
    byId("run"),
    [...new Set(data.graphs.map((one) => one.run))].map((run) => [run, data.runs[run].name])
  );
  byId("run").value = String(worthiest(data.graphs).run);
  const own = data.runs[Number(byId("run").value)].estimator;
  setOptions(byId("estimator"), data.estimators.map((name) => [name, name]), data.estimators.includes(own) ? own : data.estimators[0]);
  byId("run").addEventListener("change", listUpdates);
  byId("update").addEventListener("change", listTasks);
  byId("task").addEventListener("change", open);
  byId("estimator").addEventListener("change", () => {
    show();
    stepper.setAdvantage(graph.advantage[estimator()]);
  });
  byId("edges-details").addEventListener("toggle", () => byId("edges-details").open && drawTable());
  byId("more-edges").addEventListener("click", () => {
    rows += ROWS_AT_ONCE;
    drawTable();
  });
  byId("zoom-in").addEventListener("click", () => canvas.zoom(1.25));
  byId("zoom-out").addEventListener("click", () => canvas.zoom(0.8));
  byId("zoom-fit").addEventListener("click", () => canvas.fit());
  byId("graph").addEventListener("keydown", keys);
  listUpdates();

  return {
    redraw() {
      canvas.redraw();
      drawLegend();
    },
    // For tests and for scripts of the reader's own.
    edgeCount: () => edges.length,
    edge: (edge) => ({...edges[edge], source: graph.edges.source[edge], target: graph.edges.target[edge], colour: advantageColour(edges[edge].mean, limit)}),
    middle(edge) {
      const area = byId("graph").getBoundingClientRect();
      const [x, y] = canvas.middle(edge);
      return [area.left + x, area.top + y];
    },
  };
}
