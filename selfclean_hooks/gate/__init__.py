"""Limits, baseline and verdict: whether an audit passes."""
