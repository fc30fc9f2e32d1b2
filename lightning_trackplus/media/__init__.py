"""Media: what a person can look at, read or listen to."""
