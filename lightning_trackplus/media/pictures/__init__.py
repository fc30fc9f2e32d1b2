"""What becomes a picture, and the file of one."""
