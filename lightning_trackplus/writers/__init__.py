"""The writers of a run directory, and those of other loggers."""
