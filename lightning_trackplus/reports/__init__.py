"""The report: runs as one HTML page. `lightning_trackplus.report` makes it."""

MAX_MEDIA_MB = 20.0
"""How many megabytes of media files a report holds by default."""

MAX_MEDIA_MB_IN_NOTEBOOK = 5.0
"""The same for a report in a notebook, whose file stores it."""
