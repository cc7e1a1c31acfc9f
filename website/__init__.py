"""The documentation site: `uv run --group docs python -m website.build`."""
