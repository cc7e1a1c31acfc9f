"""Weights in files: reading them without running code, and matching them to a module."""
