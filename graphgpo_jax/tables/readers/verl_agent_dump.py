"""Writes verl-agent's batch where `verl_agent.read_steps` can read it.

This file stands alone: copy it beside verl-agent's trainer (it needs numpy and
safetensors, which are there) and call it in `RayPPOTrainer.fit`, right after
`multi_turn_loop` has returned. Later, `adjust_batch` copies or deletes rows and
`balance_batch` shuffles them:

    batch = gen_batch_output
    dump_batch(batch.non_tensor_batch, f"{folder}/{self.global_steps}")

The batch does not say where a rollout's last turn led. For that, too, let the
rollout loop keep it, after `envs.step`:

    ends = numpy.empty(batch_size, dtype=object)
    for place, state in enumerate(next_obs["anchor"]):
      ends[place] = state
    batch.non_tensor_batch["next_anchor_obs"] = ends
"""

import collections
import json

import numpy as np

_NUMBERS = (
  "rewards",
  "episode_rewards",
  "episode_lengths",
  "is_action_valid",
  "active_masks",
)
_STATES = ("anchor_obs", "next_anchor_obs")


def dump_batch(rows, path, responses=None):
  """Writes PATH.safetensors and PATH.json, without pickle.

  Args:
    rows: the batch's `non_tensor_batch`, rows in the order of their turns. It
      gets the key turn_step, by which its rows are found again after they were
      copied or shuffled.
    path: of the files, without an ending.
    responses: text of each row's response, from the tokenizer; for rules that
      tell actions apart.
  """
  from safetensors import numpy as tensor_files

  seen: collections.Counter[str] = collections.Counter()
  turns = []
  for rollout in rows["traj_uid"]:
    turns.append(seen[rollout])
    seen[rollout] += 1
  rows["turn_step"] = np.asarray(turns, dtype=object)
  tensors = {"turn_step": np.asarray(turns, np.int64)}
  texts = {
    name: [str(value) for value in rows[name]] for name in ("uid", "traj_uid")
  }
  for name in _NUMBERS:
    if name in rows:
      tensors[name] = np.asarray(list(rows[name]), np.float32)
  for name in _STATES:
    if name in rows and isinstance(rows[name][0], np.ndarray):
      tensors[name] = np.stack(list(rows[name]))
    elif name in rows:
      texts[name] = list(rows[name])
  if responses is not None:
    texts["output"] = list(responses)
  tensor_files.save_file(tensors, f"{path}.safetensors")
  with open(f"{path}.json", "w", encoding="utf-8") as file:
    json.dump(texts, file, ensure_ascii=False)
