"""How many values lie in each bin."""
