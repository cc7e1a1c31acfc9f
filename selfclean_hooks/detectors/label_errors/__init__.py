"""Label errors, the default method."""
