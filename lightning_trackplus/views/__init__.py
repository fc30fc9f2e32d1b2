"""How values look as HTML: what a notebook and a report share."""
