"""Off_topic."""
