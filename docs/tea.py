"""Three rollouts of one task, which the guides and their pictures share."""

STEPS = {
  "task": ["tea"] * 13,
  # The first rollout succeeds, the others run out of time.
  "trajectory": [0] * 4 + [1] * 5 + [2] * 4,
  "t": [0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2, 3],
  "observation": (
    ["hall", "kitchen", "pantry", "table"]
    + ["hall", "cellar", "hall", "kitchen", "pantry"]
    + ["hall", "kitchen", "hall", "attic"]
  ),
  "next_observation": (
    ["kitchen", "pantry", "table", "cup"]
    + ["cellar", "hall", "kitchen", "pantry", "pantry"]
    + ["kitchen", "hall", "attic", "attic"]
  ),
  "success": [True] * 4 + [False] * 9,
}
