#!/usr/bin/env bash
# Trains on a slice of a TPU pod: the same command on every host of it.
#
#   TPU_NAME=my-slice TPU_ZONE=us-central2-b \
#     experiments/launch/tpu_pod.sh --config=experiments/configs/household.py \
#     --config.mesh.fsdp=4 --workdir=/mnt/shared/runs/household
#
# Needs gcloud, a slice that exists, and the project on every host in the folder
# TPU_FOLDER (default graphgpo_jax in the home folder) with
# `pip install -e . 'jax[tpu]'`. The workdir must be seen by all hosts: a bucket
# mounted at the same place, or a shared disk. jax finds the other hosts by
# itself. Not tried on a real slice; see BUILD_NOTES.md.
set -euo pipefail
: "${TPU_NAME:?set TPU_NAME to the name of the slice}"
: "${TPU_ZONE:?set TPU_ZONE to its zone}"
folder=${TPU_FOLDER:-graphgpo_jax}
command="cd $(printf '%q' "$folder") && python3 -m experiments.train --distributed=on"
for argument in "$@"; do
  command+=" $(printf '%q' "$argument")"
done
exec gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$TPU_ZONE" \
  --worker=all --command="$command"
