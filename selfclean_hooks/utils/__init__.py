"""Helpers that every layer may use; they know nothing of audits."""
