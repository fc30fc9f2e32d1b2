"""The report: runs as one HTML page. `lightning_trackplus.report` makes it."""

MAX_MEDIA_MB = 20.0
"""How many megabytes of media files a report holds by default."""
