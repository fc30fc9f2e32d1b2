"""Runs as they were written: read, and both formats compared."""
