"""What the Evaluator and the BulkInferrer do: labels, predictions and their rows."""
