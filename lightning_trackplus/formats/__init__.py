"""The files of a run directory: their names, formats and parsers."""
