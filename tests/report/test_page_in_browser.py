"""The page in a headless Chromium, as a reader uses it."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from graphgpo_jax.report import advantages, page, page_data, runs
from tests.report import made_runs

pytestmark = [pytest.mark.extra("chromium"), pytest.mark.slow]

NAMES = ["grpo", "gigpo", "graphgpo"]
# Where a person finds the pictures afterwards; git ignores it.
SCREENSHOTS = pathlib.Path(__file__).parents[2] / "build" / "screenshots"
SHIFT = 0.25


@pytest.fixture(scope="module")
def browser():
  """A headless Chromium; its log is read after every test."""
  webdriver = pytest.importorskip(
    "selenium.webdriver", reason="selenium is not installed"
  )
  paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
  if None in paths:
    pytest.skip("no chromium or no chromedriver on the PATH")
  options = webdriver.ChromeOptions()
  options.binary_location = paths[0]
  for argument in (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1400,1700",
  ):
    options.add_argument(argument)
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})

  def start():
    return webdriver.Chrome(
      options=options, service=webdriver.ChromeService(paths[1])
    )

  from selenium.common.exceptions import WebDriverException

  # On a busy machine Chromium now and then misses chromedriver's deadline.
  try:
    driver = start()
  except WebDriverException:
    driver = start()
  driver.set_page_load_timeout(300)
  driver.set_script_timeout(300)
  yield driver
  driver.quit()


def complaints(browser):
  """Errors and warnings since it was asked last.

  Below them are what a page logs for information, which ours never does, and
  lines that versions of Chromium write of their own.
  """
  return [
    line
    for line in browser.get_log("browser")
    if line["level"] not in ("INFO", "FINE", "DEBUG")
  ]


@pytest.fixture(autouse=True)
def silent(browser):
  """No error and no warning comes of what a test does."""
  complaints(browser)
  yield
  assert complaints(browser) == []


@pytest.fixture
def take_picture(browser, tmp_path):
  """Takes a screenshot of that name and gives its path."""

  def take(name):
    folder = SCREENSHOTS
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError:
      folder = tmp_path
    if not os.access(folder, os.W_OK):
      folder = tmp_path
    path = folder / name
    path.unlink(missing_ok=True)
    assert browser.save_screenshot(str(path))
    return path

  return take


def advantages_without_compiling(graph, options, *, size):
  """What differs by estimator, with both signs."""
  del size
  gain = np.where(graph.progress, 1.0, -0.4)
  return {
    name: gain * (place - 0.5) + graph.cost * 0.1 * np.sqrt(range(len(gain)))
    for place, name in enumerate(options)
  }


def write_page(path, folder):
  found = runs.read_runs(folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(advantages, "all_advantages", advantages_without_compiling)
    data = page_data.gather(
      found, num_updates=8, num_tasks=4, max_bytes=5_000_000, names=NAMES
    )
  path.write_text(page.render(data, title="runs"))
  return data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  """Path and data of a page of a comparison."""
  folder = tmp_path_factory.mktemp("report")
  for name, shift in (("graphgpo-0", 0), ("graphgpo-1", SHIFT), ("grpo-0", 0)):
    made_runs.write_run(folder / "runs" / name, states=12, shift=shift)
  return folder / "report.html", write_page(
    folder / "report.html", folder / "runs"
  )


@pytest.fixture
def opened(browser, report):
  browser.get(report[0].as_uri())
  return browser


def by_id(browser, name):
  return browser.find_element("id", name)


def choose(browser, name, value):
  browser.execute_script(
    "const select = document.getElementById(arguments[0]);"
    "select.value = arguments[1];"
    "select.dispatchEvent(new Event('change'));",
    name,
    value,
  )


def edges(browser):
  return browser.execute_script(
    "return [...Array(report.edgeCount()).keys()].map(report.edge)"
  )


def pixels(browser):
  """Colours at the middles of the edges, as they are drawn."""
  return browser.execute_async_script(
    """
    const done = arguments[0];
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const canvas = document.getElementById("graph");
      const area = canvas.getBoundingClientRect();
      const ratio = canvas.width / area.width;
      // A copy, for Chromium warns of reading a canvas often.
      const copy = document.createElement("canvas");
      [copy.width, copy.height] = [canvas.width, canvas.height];
      const context = copy.getContext("2d", {willReadFrequently: true});
      context.drawImage(canvas, 0, 0);
      done([...Array(report.edgeCount()).keys()].map((edge) => {
        const [x, y] = report.middle(edge);
        return [...context.getImageData(
          Math.round((x - area.left) * ratio),
          Math.round((y - area.top) * ratio), 1, 1).data].join(" ");
      }));
    }));
    """
  )


def shown_graph(browser, data):
  return data["graphs"][int(by_id(browser, "task").get_attribute("value"))]


def hover(browser, edge):
  from selenium.webdriver import ActionChains

  canvas = by_id(browser, "graph")
  browser.execute_script("arguments[0].scrollIntoView()", canvas)
  x, y, left, top, width, height = browser.execute_script(
    "const a = document.getElementById('graph').getBoundingClientRect();"
    "return [...report.middle(arguments[0]), a.left, a.top, a.width, a.height]",
    edge,
  )
  ActionChains(browser).move_to_element_with_offset(
    canvas, round(x - left - width / 2), round(y - top - height / 2)
  ).perform()
  return by_id(browser, "tooltip")


def lonely_edges(browser, count):
  """Edges with the most room around their middles."""
  middles = np.asarray(
    browser.execute_script(
      "return [...Array(report.edgeCount()).keys()].map(report.middle)"
    )
  )
  apart = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
  np.fill_diagonal(apart, np.inf)
  return np.argsort(-apart.min(axis=1))[:count].tolist()


def test_a_complaint_would_be_seen(opened):
  opened.execute_script("console.info('nothing')")
  assert complaints(opened) == []
  opened.execute_script("console.warn('a warning')")
  (line,) = complaints(opened)
  assert line["level"] == "WARNING" and "a warning" in line["message"]
  opened.execute_script("setTimeout(() => { throw new Error('a fault'); }, 0)")
  opened.execute_async_script("setTimeout(arguments[0], 50)")
  (line,) = complaints(opened)
  assert line["level"] == "SEVERE" and "a fault" in line["message"]


def test_it_loads_and_texts_stay_texts(opened, report, take_picture):
  assert by_id(opened, "curves").find_elements("css selector", ".mean")
  assert by_id(opened, "curves").find_elements("css selector", ".band")
  assert len(edges(opened)) == len(
    shown_graph(opened, report[1])["edges"]["source"]
  )
  view = by_id(opened, "step-view")
  assert "<script>alert(1)</script>" in view.text
  assert not view.find_elements("css selector", "script")
  assert len(opened.find_elements("css selector", "script")) == 2
  assert take_picture("report.png").stat().st_size > 20_000


def test_another_estimator_changes_the_colours(opened, report):
  graph = shown_graph(opened, report[1])
  seen = {}
  for name in NAMES:
    choose(opened, "estimator", name)
    values = np.asarray(graph["advantage"][name])
    edge = np.asarray(graph["steps"]["edge"])
    means = np.bincount(edge, weights=values) / np.bincount(edge)
    found = edges(opened)
    np.testing.assert_allclose([one["mean"] for one in found], means)
    seen[name] = [one["colour"] for one in found], pixels(opened)
  for one, other in (("grpo", "gigpo"), ("gigpo", "graphgpo")):
    for first, second in zip(seen[one], seen[other], strict=True):
      different = sum(a != b for a, b in zip(first, second, strict=True))
      assert different > len(first) / 3


def test_hovering_shows_the_value(opened, report):
  graph = shown_graph(opened, report[1])
  choose(opened, "estimator", "graphgpo")
  for edge in lonely_edges(opened, 3):
    tooltip = hover(opened, edge)
    assert tooltip.is_displayed()
    mean = edges(opened)[edge]["mean"]
    assert f"{abs(mean):.3f}" in tooltip.text
    assert ("\u2212" in tooltip.text) or mean >= 0
    action = report[1]["texts"][graph["edges"]["action"][edge]]
    assert action in tooltip.text


def test_parallel_edges_and_loops_are_told_apart(opened, report, take_picture):
  """Those of one pair of nodes lie side by side, loops one in the other."""
  graph = shown_graph(opened, report[1])
  choose(opened, "estimator", "graphgpo")
  found = edges(opened)
  alike = {}
  for edge, one in enumerate(found):
    alike.setdefault((one["source"], one["target"]), []).append(edge)
  several = {ends: group for ends, group in alike.items() if len(group) > 1}
  parallel = [group for ends, group in several.items() if ends[0] != ends[1]]
  loops = [group for ends, group in several.items() if ends[0] == ends[1]]
  assert parallel and loops
  for group in parallel + loops:
    means = [found[edge]["mean"] for edge in group]
    assert len({f"{mean:.3f}" for mean in means}) == len(group)
    for edge, mean in zip(group, means, strict=True):
      action, value, ends = hover(opened, edge).text.split("\n")
      assert action == report[1]["texts"][graph["edges"]["action"][edge]]
      shown = f"{mean:+.3f}".replace("-", "\u2212")
      assert value.startswith(f"advantage by graphgpo: {shown} (")
      names = [
        f"state {node} (" if node else "SUCCESS"
        for node in (found[edge]["source"], found[edge]["target"])
      ]
      for name, end in zip(names, ends.split(" \u2192 "), strict=True):
        assert end.startswith(name)
  take_picture("parallel.png")


def test_statistics_show_their_numbers(opened, report):
  from selenium.webdriver import Keys

  boxes = by_id(opened, "statistics").find_elements("xpath", "./div")
  assert len(boxes) == len(made_runs.STATISTICS)
  for box, value in zip(boxes, made_runs.STATISTICS.values(), strict=True):
    picture = box.find_element("css selector", "svg[role=img]")
    for step in (5, 4, 3):
      own = value(step)
      # Two runs of which one is shifted, and one run.
      mean, least, most = (
        f"{own + shift:.3f}".rstrip("0").rstrip(".") or "0"
        for shift in (SHIFT / 2, 0, SHIFT)
      )
      keys = [one.text for one in box.find_elements("css selector", ".keys li")]
      assert keys == [
        f"graphgpo (2 runs) {mean} ({least} to {most})",
        f"grpo (1 run) {least}",
        f"at update {step}",
      ]
      if step == 5:
        label = picture.get_attribute("aria-label")
        assert label.endswith(f"At the end: graphgpo {mean}, grpo {least}.")
      picture.send_keys(Keys.ARROW_LEFT)


def test_the_progress_table_shows_its_numbers(opened, report):
  data = report[1]
  expected = []
  for run in range(3):
    for update in (1, 4):
      counts = {(won, closer): 0 for won in (0, 1) for closer in (0, 1)}
      tasks = [
        one
        for one in data["graphs"]
        if (one["run"], one["update"]) == (run, update)
      ]
      for graph in tasks:
        far = [
          np.inf if one is None else one for one in graph["nodes"]["distance"]
        ]
        for edge, rollout in zip(
          graph["steps"]["edge"], graph["steps"]["rollout"], strict=True
        ):
          before, after = (
            far[graph["edges"][end][edge]] for end in ("source", "target")
          )
          won = graph["rollouts"]["success"][rollout]
          counts[won, int(after < before)] += 1
      failed, succeeded = (counts[won, 0] + counts[won, 1] for won in (0, 1))
      assert failed and succeeded
      expected.append(
        [
          data["runs"][run]["name"],
          str(update),
          str(len(tasks)),
          f"{100 * counts[0, 1] / failed:.1f} %",
          str(failed),
          f"{100 * counts[1, 0] / succeeded:.1f} %",
          str(succeeded),
        ]
      )
  rows = by_id(opened, "progress").find_elements("css selector", "tbody tr")
  assert [
    [cell.text for cell in row.find_elements("css selector", "td")]
    for row in rows
  ] == expected


def test_the_smoothing_slider(opened):
  def points():
    (first, *_) = by_id(opened, "curves").find_elements("css selector", ".mean")
    return first.get_attribute("points")

  from selenium.webdriver import Keys

  before = points()
  by_id(opened, "smoothing").send_keys(Keys.ARROW_RIGHT * 8)
  assert by_id(opened, "smoothing-value").text == "0.4"
  assert points() != before


def test_the_keyboard_alone(opened, report):
  from selenium.webdriver import Keys

  canvas = by_id(opened, "graph")
  canvas.send_keys(Keys.ARROW_RIGHT)
  first = by_id(opened, "selected").get_attribute("textContent")
  assert "advantage" in first and by_id(opened, "tooltip").is_displayed()
  canvas.send_keys(Keys.ARROW_RIGHT)
  assert by_id(opened, "selected").get_attribute("textContent") != first
  canvas.send_keys("n")
  assert "2 of" in by_id(opened, "step-view").text
  canvas.send_keys("p")
  assert "1 of" in by_id(opened, "step-view").text
  before = opened.execute_script("return report.middle(0)")
  canvas.send_keys("+")
  assert opened.execute_script("return report.middle(0)") != before
  canvas.send_keys("0")
  np.testing.assert_allclose(
    opened.execute_script("return report.middle(0)"), before, atol=300
  )
  by_id(opened, "next").send_keys(Keys.ENTER)
  assert "2 of" in by_id(opened, "step-view").text
  opened.find_element("css selector", "#edges-details summary").send_keys(
    Keys.ENTER
  )
  rows = opened.find_elements("css selector", "#edges tbody tr")
  assert len(rows) == min(100, len(edges(opened)))
  # Everything that can be worked has a name for who does not see it.
  nameless = opened.execute_script(
    """
    return [...document.querySelectorAll("button, select, input, canvas")]
      .filter((one) => !one.hidden && !one.textContent.trim() &&
        !one.getAttribute("aria-label") && !one.labels?.length)
      .map((one) => one.id);
    """
  )
  assert nameless == []


def test_light_and_dark(opened, take_picture):
  def back():
    return by_id(opened, "theme"), opened.execute_script(
      "return getComputedStyle(document.body).backgroundColor"
    )

  button, light = back()
  before = pixels(opened)
  button.click()
  assert back()[1] != light
  after = pixels(opened)
  assert sum(a != b for a, b in zip(before, after, strict=True)) > 5
  take_picture("dark.png")
  opened.execute_cdp_cmd(
    "Emulation.setEmulatedMedia",
    {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
  )
  opened.refresh()
  dark = back()[1]
  opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
  assert dark != light


def test_two_thousand_states(browser, tmp_path, take_picture):
  folder = made_runs.write_run(
    tmp_path / "run", states=10**6, updates=(1,), tasks=1,
    rollouts=8, length=620,
  )  # fmt: skip
  # Every rollout goes its own way, so that there are that many states.
  path = folder / "rollouts" / "update-000001.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  for row in rows:
    won = row["trajectory"] % 2 == 0
    for name in ("observation", "next_observation"):
      row[name] = f"{row['trajectory']}-{row[name]}"
    row["success"] = won
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  data = write_page(tmp_path / "big.html", folder)
  (graph,) = data["graphs"]
  assert len(graph["nodes"]["x"]) > 2000
  browser.get((tmp_path / "big.html").as_uri())
  assert len(edges(browser)) == len(graph["edges"]["source"])
  (edge,) = lonely_edges(browser, 1)
  assert "advantage" in hover(browser, edge).text
  choose(browser, "estimator", "gigpo")
  take_picture("big.png")
