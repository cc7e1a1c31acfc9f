"""Principal components, and a map of all samples in two dimensions."""
