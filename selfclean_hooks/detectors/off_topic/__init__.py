"""Off-topic samples, the default method."""
