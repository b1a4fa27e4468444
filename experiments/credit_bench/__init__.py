"""Sections of `experiments.bench_credit`, one module each."""
