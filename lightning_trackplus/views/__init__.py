"""How values look: what a notebook, a report and the command line share."""
