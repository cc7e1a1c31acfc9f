"""Sarif."""
