"""Detectors: embeddings to scores."""
