"""Near duplicates, the default method."""
