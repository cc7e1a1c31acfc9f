"""`python -m selfclean_hooks`: the command line."""

from __future__ import annotations

from selfclean_hooks.cli.main import run

run()
