"""`python -m selfclean_hooks`: the command line."""

from selfclean_hooks.cli import run

run()
