"""What runs in a step's container: the command `headrace-step` and its parts."""
