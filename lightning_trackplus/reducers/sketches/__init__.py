"""States that describe the distribution of all values."""
