// One rollout, step by step, beside its texts.

function makeStepper({onStep}) {
  let graph = null;
  let advantage = [];
  let places = []; // steps of the chosen rollout
  let now = 0;

  const select = byId("rollout");
  const slider = byId("step");

  function choose() {
    const rollout = Number(select.value);
    places = graph.steps.rollout.flatMap((one, step) => (one === rollout ? [step] : []));
    slider.max = String(places.length - 1);
    go(0);
  }

  function go(place) {
    now = Math.max(0, Math.min(places.length - 1, place));
    slider.value = String(now);
    slider.setAttribute("aria-valuetext", `step ${now + 1} of ${places.length}`);
    byId("previous").disabled = now === 0;
    byId("next").disabled = now === places.length - 1;
    draw();
    mark();
  }

  function mark() {
    const path = new Set(places.map((step) => graph.steps.edge[step]));
    onStep({path: byId("fade").checked ? path : null, step: graph.steps.edge[places[now]]});
  }

  function draw() {
    const step = places[now];
    const edge = graph.steps.edge[step];
    const [from, to] = [graph.edges.source[edge], graph.edges.target[edge]];
    const [before, after] = [graph.nodes.distance[from], graph.nodes.distance[to]];
    const closer = after != null && (before == null || after < before);
    const pairs = [
      ["Step", `${now + 1} of ${places.length}`],
      ["Action", data.texts[graph.edges.action[edge]] || "(no name)"],
      ["Advantage", signed(advantage[step])],
      ["Distance", `${distanceText(before)} \u2192 ${distanceText(after)}`],
      ["Progress", closer ? "yes, closer to success" : "no"],
    ];
    if (!graph.steps.valid[step]) pairs.push(["Note", "the action was not admissible"]);
    if (graph.steps.cost[step] !== 1) pairs.push(["Cost", plain(graph.steps.cost[step])]);
    const said = data.texts[graph.steps.said[step]];
    const parts = [
      element("dl", {}, ...pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])),
      element("div", {}, "State before"),
      element("pre", {tabindex: "0"}, data.texts[graph.nodes.text[from]]),
      said ? element("div", {}, "What the model said") : null,
      said ? element("pre", {tabindex: "0"}, said) : null,
      element("div", {}, "State after"),
      element("pre", {tabindex: "0"}, data.texts[graph.nodes.text[to]]),
    ];
    byId("step-view").replaceChildren(...parts.filter((part) => part != null));
  }

  select.addEventListener("change", choose);
  slider.addEventListener("input", () => go(Number(slider.value)));
  byId("fade").addEventListener("change", mark);
  byId("previous").addEventListener("click", () => go(now - 1));
  byId("next").addEventListener("click", () => go(now + 1));

  return {
    open(shown, values) {
      graph = shown;
      advantage = values;
      const lengths = graph.rollouts.name.map((_, rollout) => graph.steps.rollout.filter((one) => one === rollout).length);
      setOptions(
        select,
        graph.rollouts.name.map((name, rollout) => [
          rollout,
          `${name}: ${graph.rollouts.success[rollout] ? "success" : "failure"}, ${plural(lengths[rollout], "step")}`,
        ]),
        "0"
      );
      choose();
    },
    setAdvantage(values) {
      advantage = values;
      draw();
    },
    next: () => go(now + 1),
    previous: () => go(now - 1),
  };
}
