"""A run directory on a remote file system."""
