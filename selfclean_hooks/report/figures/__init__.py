"""Figures of matplotlib, contact sheets and notebooks."""
