"""Options that several commands share, or that are long: as annotations of their parameters."""
