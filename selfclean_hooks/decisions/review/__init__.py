"""Review decisions of people."""
