"""Distances in low precision, within known bounds: what the exact searches leave out by, and look up by."""
