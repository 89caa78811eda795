"""What the Trainer is made of: rows as a stream of batches, checkpoints that training goes on from, the series of its
metrics."""
