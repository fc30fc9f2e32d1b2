"""Pictures: pixels, drawings and files."""
