"""What becomes a table."""
