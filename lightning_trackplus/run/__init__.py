"""A run directory of our own: which it is, who may write to it, what is in it, and how it goes on."""
