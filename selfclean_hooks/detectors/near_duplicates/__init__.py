"""Near_duplicates."""
