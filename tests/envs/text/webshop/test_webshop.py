"""Visits to a shop: pages, actions, rewards and states."""

import random

import pytest

from graphgpo_jax.envs.text import webshop
from graphgpo_jax.envs.text.webshop import environment, goods, shop
from graphgpo_jax.rollouts.host import workers
from tests.envs.text.webshop import goods_for_tests

pytestmark = pytest.mark.extra("text")
pytest.importorskip("rapidfuzz", reason="needs the extra [text]")

SHIRT, JACKET = goods_for_tests.SHIRT, goods_for_tests.JACKET


@pytest.fixture
def visit():
  opened = shop.Shop([SHIRT, JACKET], [goods_for_tests.WANTED])
  return environment.WebShop(opened)


def after(visit, *actions):
  """The last of some steps, all of them valid."""
  step = visit.reset("goal-0")
  for action in actions:
    step = visit.step(action)
    assert step.action_valid, action
  return step


def test_a_visit_from_the_search_to_the_purchase(visit):
  start = visit.reset("goal-0")
  assert start.observation == "'Search'"
  assert start.task == "a shirt"
  assert start.admissible_actions == ("search[a shirt]",)
  results = visit.step("search[Cotton SHIRT]")
  assert results.observation == (
    "'Back to Search' [SEP] 'Page 1 (Total results: 1)' [SEP] 'B000000001' "
    "[SEP] 'Alder Slim Fit Cotton Shirt' [SEP] '$20.0'"
  )
  assert results.admissible_actions == (
    "click[b000000001]",
    "click[back to search]",
  )
  item = visit.step("click[B000000001]")
  assert item.observation == (
    "'Back to Search' [SEP] '< Prev' [SEP] 'color' [SEP] 'navy blue' [SEP] "
    "'red' [SEP] 'size' [SEP] 'small' [SEP] 'large' [SEP] "
    "'Alder Slim Fit Cotton Shirt' [SEP] 'Price: $20.0' [SEP] 'Rating: N.A.' "
    "[SEP] 'Description' [SEP] 'Features' [SEP] 'Reviews' [SEP] 'Buy Now'"
  )
  assert item.admissible_actions == tuple(
    sorted(
      f"click[{link}]"
      for link in (
        "back to search < prev|navy blue|red|small|large|description|features|"
        "reviews|buy now"
      )
      .replace("search <", "search|<")
      .split("|")
    )
  )
  for action in ("click[navy blue]", "click[red]", "click[Large]"):
    step = visit.step(action)
    assert step.observation == item.observation and step.reward == 0
  assert step.facts["options"] == '{"color": "red", "size": "large"}'
  end = visit.step("click[buy now]")
  assert end.terminated and end.success and not end.truncated
  assert end.reward == 1.0
  assert end.admissible_actions == ()
  with pytest.raises(ValueError, match="reset"):
    visit.step("click[back to search]")


def test_a_purchase_that_fits_in_part(visit):
  end = after(
    visit, "search[shirt]", "click[b000000001]", "click[red]", "click[buy now]"
  )
  assert end.terminated and not end.success
  assert end.reward == pytest.approx(4 / 5)


@pytest.mark.parametrize(
  ("link", "shown"),
  [
    ("description", "'A shirt for every day.'"),
    ("features", "'Machine washable' [SEP] 'Made of soft cotton'"),
    ("reviews", "'No reviews found'"),
  ],
)
def test_pages_about_a_product_and_back(visit, link, shown):
  item = after(visit, "search[shirt]", "click[b000000001]", "click[red]")
  more = visit.step(f"click[{link}]")
  assert more.observation == f"'Back to Search' [SEP] '< Prev' [SEP] {shown}"
  back = visit.step("click[< prev]")
  assert back.observation == item.observation
  assert back.facts == item.facts  # the choice is kept
  assert visit.step("click[< prev]").facts["options"] == "{}"
  again = visit.step("click[b000000001]")
  assert again.facts["options"] == "{}"


def test_results_have_pages_of_ten():
  products = [
    goods.Product(f"B{number:09d}", "cup", "garden", "cups", "a")
    for number in range(60)
  ]
  goal = goods.Goal(products[0], "a cup", ("blue",), (), 200.0)
  visit = environment.WebShop(shop.Shop(products, [goal]))
  page = after(visit, "search[cup]")
  seen = []
  for number in range(1, 6):
    assert f"'Page {number} (Total results: 50)'" in page.observation
    assert ("click[< prev]" in page.admissible_actions) == (number > 1)
    assert ("click[next >]" in page.admissible_actions) == (number < 5)
    links = [a for a in page.admissible_actions if a.startswith("click[b0")]
    assert len(links) == 10
    seen += links
    last, page = page, visit.step("click[next >]")
  assert len(set(seen)) == 50
  assert not page.action_valid and page.observation == last.observation
  item = visit.step(seen[-1])
  assert item.facts["page_number"] == "5"
  assert visit.step("click[< prev]").observation == last.observation
  fourth = visit.step("click[< prev]")
  assert "'Page 4 " in fourth.observation
  nothing = visit.step("search[spoon]")
  assert "(Total results: 0)" in nothing.observation


@pytest.mark.parametrize(
  "action",
  [
    "",
    "buy now",
    "click[buy now]",
    "click[search]",
    "search[]",
    "search[ ]",
    "search[cup",
    "click[b000000001]",
    "open[door]",
    "click[\ud800]",
  ],
)
def test_what_cannot_be_done_changes_nothing(visit, action):
  start = visit.reset("goal-0")
  step = visit.step(action)
  assert not step.action_valid and not step.done
  assert step.observation == start.observation
  assert step.facts == start.facts


def test_options_with_brackets_can_be_clicked():
  cup = goods.Product(
    "B1", "cup", "garden", "cups", "a", options={"kind": ("a [b]", "c")}
  )
  goal = goods.Goal(cup, "a cup [blue]", ("blue",), (), 200.0)
  visit = environment.WebShop(shop.Shop([cup], [goal]))
  assert visit.reset("goal-0").admissible_actions == ("search[a cup blue]",)
  step = after(visit, "search[cup]", "click[b1]", "click[a [b]]")
  assert step.facts["options"] == '{"kind": "a [b]"}'


def test_step_limit():
  visit = webshop.make(max_steps=2)
  visit.reset("goal-0")
  assert not visit.step("nothing").done
  step = visit.step("search[cup]")
  assert step.truncated and not step.terminated and not step.success
  with pytest.raises(ValueError, match="max_steps"):
    webshop.make(max_steps=0)


@pytest.mark.parametrize(
  "task", ["goal-1200", "goal--1", "7", "goal-", "goal-²"]
)
def test_unknown_tasks(task):
  with pytest.raises(ValueError, match="goal-0 to goal-1199"):
    webshop.make().reset(task)


def test_real_files_are_played(tmp_path):
  folder = goods_for_tests.write_files(tmp_path)
  visit = webshop.make(data_folder=folder)
  tasks = {visit.reset(f"goal-{n}").task: f"goal-{n}" for n in range(2)}
  (task,) = [task for text, task in tasks.items() if "red shirt" in text]
  visit.reset(task)
  for action in ("search[shirt]", "click[b000000001]", "click[red]"):
    visit.step(action)
  assert visit.step("click[buy now]").success


def test_state_keys():
  """One page is several states: it does not show what was chosen."""
  visit = webshop.make(max_steps=40)
  recipe, true = webshop.STATE_KEYS["recipe"], webshop.STATE_KEYS["true"]
  seen: dict[tuple[str, str], set[str]] = {}
  aliased = 0
  for episode in range(60):
    chance = random.Random(episode)
    step = visit.reset("goal-3")
    while not step.done:
      assert "price" not in recipe(step)  # the instruction is not in it
      action = chance.choice(step.admissible_actions)
      before, step = step, visit.step(action)
      following = (true(step), step.observation, step.reward)
      key = (true(before), action)
      assert seen.setdefault(key, following) == following
      aliased += recipe(step) == recipe(before) and true(step) != true(before)
  assert aliased
  assert set(webshop.STATE_KEYS) == {"recipe", "true", "observation"}


def test_shop_in_a_worker_process():
  """Worlds are imported there without what the package imports."""
  with workers.WorkerPool(webshop.make, num_workers=1) as pool:
    pool.reset(0, "goal-7", seed=0)
    found = []
    while not found:
      found = pool.poll(0.1)
  assert found[0].step == webshop.make().reset("goal-7")
