"""Values that travel between the layers, and the table of issues."""
