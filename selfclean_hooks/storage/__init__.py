"""Audits as folders: written and read without loading a model."""
