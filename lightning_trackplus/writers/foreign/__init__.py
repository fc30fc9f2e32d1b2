"""Media for the loggers of other packages."""
