"""The run directory: which one it is, who may write it, what is written, and how it is resumed."""
