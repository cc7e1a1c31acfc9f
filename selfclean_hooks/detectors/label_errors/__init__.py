"""Label_errors."""
