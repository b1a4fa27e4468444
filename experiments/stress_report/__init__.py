"""Parts of `python -m experiments.stress`."""
