"""From scores to flags and actions."""
