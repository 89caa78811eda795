"""Whether serving gives what training saw: rows of the examples sent to an exported model as a client sends them."""
