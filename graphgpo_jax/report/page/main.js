// Puts the page together.

const STATISTICS = [
  ["graph/progress_steps", "Steps that came closer to success (share)"],
  ["graph/singleton_groups", "States that a single step left (share of states)"],
  ["graph/reachable_states", "States with a way to success (share)"],
  ["graph/groups_with_success", "Tasks with a success (share)"],
];
const FIRST_CHOICES = ["eval/success", "rollout/success", "eval/success_greedy"];

function startCurves() {
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.metrics)))].sort();
  const first = FIRST_CHOICES.filter((name) => names.includes(name));
  const ordered = [...first, ...names.filter((name) => !first.includes(name))];
  setOptions(byId("metric"), ordered.map((name) => [name, name]), ordered[0]);
  function draw() {
    const weight = Number(byId("smoothing").value);
    byId("smoothing-value").textContent = String(weight);
    drawChart(byId("curves"), byId("metric").value, {weight});
    byId("statistics").replaceChildren(
      ...STATISTICS.map(([metric, label]) => {
        const box = element("div", {class: "chart"});
        drawChart(box, metric, {weight, width: 420, height: 190, label});
        return element("div", {}, element("h3", {}, label), box);
      })
    );
  }
  byId("metric").addEventListener("change", draw);
  byId("smoothing").addEventListener("input", draw);
  draw();
  return draw;
}

function drawProgress() {
  if (!data.progress.length) return;
  const share = (value) => (value == null ? "no such steps" : `${(100 * value).toFixed(1)} %`);
  const head = ["Run", "Update", "Tasks", "Progress in failed rollouts", "of steps", "No progress in successful rollouts", "of steps"];
  byId("progress").replaceChildren(
    element(
      "details",
      {open: data.progress.length < 12},
      element("summary", {}, "Progress that failures hide, and idle steps of successes, in the kept tasks"),
      element(
        "div",
        {class: "table-box"},
        element(
          "table",
          {},
          element("thead", {}, element("tr", {}, ...head.map((name, i) => element("th", {scope: "col", class: i ? "number" : null}, name)))),
          element(
            "tbody",
            {},
            ...data.progress.map((row) =>
              element(
                "tr",
                {},
                element("td", {}, data.runs[row.run].name),
                ...[String(row.update), String(row.tasks), share(row.failed_progress), String(row.failed_steps), share(row.successful_idle), String(row.successful_steps)].map((text) =>
                  element("td", {class: "number"}, text)
                )
              )
            )
          )
        )
      )
    )
  );
}

let drawCurves = () => {};
let graphs = null;
startTheme(() => {
  drawCurves();
  if (graphs) graphs.redraw();
});
drawCurves = startCurves();
graphs = startGraphs();
drawProgress();
byId("notes").replaceChildren(...data.notes.map((note) => element("li", {}, note)));
window.report = graphs;
