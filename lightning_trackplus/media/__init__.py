"""Media: images, sounds, texts and other values that become files."""
