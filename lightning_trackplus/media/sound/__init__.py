"""What becomes a sound, and the file of one."""
