"""Audits of data sets, embeddings and splits: what users call, on top of everything below."""
