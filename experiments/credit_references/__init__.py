"""Credit without JAX: what `experiments.bench_credit` compares with.

Each module has one function, `assign_credit(steps, **options)`, from the same
columns to the same distances and advantages as `graphgpo_jax.assign_credit`
with the estimator graphgpo. None checks its input: rows stand in the order of
task, trajectory and t, and every next_observation is right.
"""
