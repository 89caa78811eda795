"""Metrics of predictions over batches: mergeable, by slice, each with a confidence interval. NumPy in, NumPy out."""
