"""What lies in a run directory, read back and compared."""
