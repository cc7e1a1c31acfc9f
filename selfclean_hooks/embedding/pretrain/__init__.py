"""Self-supervised training of a small encoder on the data itself."""
