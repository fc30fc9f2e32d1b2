"""The ways that a logged value can take to what Lightning keeps, and to the loggers."""
