"""Whether a model does in a server what its clients need: it loads, answers completely, in time and in memory."""
