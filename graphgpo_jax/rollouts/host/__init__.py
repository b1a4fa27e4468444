"""Episodes of text worlds on the host: worker processes, one model.

`workers` runs environments in processes of their own, `collect` plays episodes
on them with one function that acts for whole batches, `records` turns them
into columns and files.
"""
