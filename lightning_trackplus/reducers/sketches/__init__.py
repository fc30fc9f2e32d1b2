"""What quantiles are computed from."""
