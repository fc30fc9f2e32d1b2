"""Reading run directories, and comparing their two formats."""
