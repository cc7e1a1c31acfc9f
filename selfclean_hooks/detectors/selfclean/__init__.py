"""Selfclean."""
