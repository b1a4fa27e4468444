#!/usr/bin/env bash
# Trains on several GPU hosts: a process on each, which uses all of its GPUs.
#
#   HOSTS="node1 node2" experiments/launch/gpu_hosts.sh \
#     --config=experiments/configs/household.py --workdir=/shared/runs/household
#
# Needs ssh to every host without a question, the project on each in the folder
# FOLDER (default: this one) with `pip install -e . 'jax[cuda12]'`, and a workdir
# on a disk that all of them share. The first host coordinates, on PORT (12355).
# Under Slurm this script is not needed, since jax reads what Slurm says:
#
#   srun --nodes=2 --ntasks-per-node=1 python -m experiments.train \
#     --distributed=on --config=... --workdir=...
#
# Not tried on real GPU hosts; see BUILD_NOTES.md.
set -euo pipefail
: "${HOSTS:?set HOSTS to the names of the hosts, the first one coordinates}"
read -r -a hosts <<<"$HOSTS"
folder=${FOLDER:-$PWD}
port=${PORT:-12355}
arguments=""
for argument in "$@"; do
  arguments+=" $(printf '%q' "$argument")"
done
children=()
trap 'kill "${children[@]}" 2>/dev/null || true' EXIT
for index in "${!hosts[@]}"; do
  # With a terminal of its own a process ends when its ssh does.
  ssh -tt -o BatchMode=yes "${hosts[$index]}" \
    "cd $(printf '%q' "$folder") && python3 -m experiments.train" \
    "--distributed=on --coordinator_address=${hosts[0]}:$port" \
    "--num_processes=${#hosts[@]} --process_id=$index$arguments" </dev/null &
  children+=($!)
done
for child in "${children[@]}"; do
  wait "$child"
done
