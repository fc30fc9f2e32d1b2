"""What happens to a value that `self.log` gets."""
