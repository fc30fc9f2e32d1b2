"""The formats of a run directory: how files are written whole, and read though they may be torn."""
