#!/usr/bin/env bash
# Starts a binary in several processes of this machine that join each other:
# to try on a laptop what several hosts do.
#
#   experiments/launch/processes.sh 2 python -m experiments.train \
#     --config=experiments/configs/household.py --workdir=runs/two
#
# All processes get the same command. Ends with the first exit status that is
# not 0, and then ends the others, too.
set -euo pipefail
if (($# < 2)) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: $0 NUMBER COMMAND..." >&2
  exit 2
fi
number=$1
shift
port=${JAX_COORDINATOR_PORT:-$(python3 -c '
import socket
with socket.socket() as taken:
  taken.bind(("localhost", 0))
  print(taken.getsockname()[1])')}
export JAX_COORDINATOR_ADDRESS="localhost:$port" JAX_NUM_PROCESSES=$number
children=()
trap 'kill "${children[@]}" 2>/dev/null || true' EXIT
# The processes then save and end by themselves.
asked=0
trap 'asked=1; kill -TERM "${children[@]}" 2>/dev/null || true' TERM INT
for ((index = 0; index < number; index++)); do
  JAX_PROCESS_ID=$index "$@" &
  children+=($!)
done
# A signal that is passed on interrupts `wait`: ask again while any is alive.
while (($(jobs -rp | wc -l))); do
  status=0
  wait -n || status=$?
  if ((status != 0 && !asked)); then
    exit "$status"
  fi
done
for child in "${children[@]}"; do
  wait "$child"
done
