"""Runs that nobody trained: metrics, and steps of a walk along a corridor."""

import json
import random

TRICKS = "<script>alert(1)</script> & </script> <!-- \u2028"


def walk(*, states, seed=0, rollouts=6, length=30, update=1, group=0):
  """Rows of a task: states in a line, the last step beyond them succeeds."""
  rng = random.Random(seed)
  rows = []
  for rollout in range(rollouts):
    place, path = 0, []
    for _ in range(length):
      move = rng.choice([-1, 0, 1, 1, 2])
      before, place = place, min(max(place + move, 0), states)
      path.append((before, move, place))
      if place == states:
        break
    success = place == states
    for time, (before, move, after) in enumerate(path):
      last = time == len(path) - 1
      rows.append(
        {
          "task": f"{update}/{group}",
          "trajectory": rollout,
          "t": time,
          "observation": f"s{before}",
          "next_observation": f"s{after}",
          "success": success,
          "reward": float(success and last),
          "episode_return": float(success),
          "action_valid": move != 0,
          "cost": 1.0,
          "action": move,
          "update": update,
          "group": group,
          "picture": f"You stand at {before}. {TRICKS}",
          "next_picture": f"You stand at {after}." if last else "",
          "action_text": f"go {move}",
        }
      )
  return rows


def columns(rows):
  """A table of the rows."""
  return {name: [row[name] for row in rows] for name in rows[0]}


# Name and value of what a chart of statistics shows of a step.
STATISTICS = {
  "graph/progress_steps": lambda step: 0.1 * step,
  "graph/singleton_groups": lambda step: 0.8 - 0.1 * step,
  "graph/reachable_states": lambda step: 0.25 + 0.05 * step,
  "graph/groups_with_success": lambda step: 0.125 * (step > 2),
}


def write_run(
  folder, *, estimator="graphgpo", updates=(1, 4), tasks=2, shift=0.0, **walks
):
  """A run's folder; `shift` is added to all its statistics."""
  (folder / "rollouts").mkdir(parents=True)
  config = {"estimator": estimator, "environment": {"name": "household"}}
  (folder / "config.json").write_text(json.dumps(config))
  with (folder / "metrics.jsonl").open("w") as file:
    for step in range(6):
      line = {"step": step, "eval/success": step / 5, "loss/policy": -step}
      for name, value in STATISTICS.items():
        line[name] = value(step) + shift
      file.write(json.dumps(line) + "\n")
  for update in updates:
    lines = [
      json.dumps(row) + "\n"
      for group in range(tasks)
      for row in walk(seed=update + group, update=update, group=group, **walks)
    ]
    path = folder / "rollouts" / f"update-{update:06d}.jsonl"
    path.write_text("".join(lines))
  return folder
