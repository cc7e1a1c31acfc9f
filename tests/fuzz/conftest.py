"""Options: `pytest tests/fuzz --fuzz 10000` for more cases, `--fuzz-case TARGET:SEED` for one of them again."""

from typing import Any

import pytest

CASES = 40  # of all targets together, where nothing else is asked for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=CASES, metavar="N", help=f"Cases of all targets together ({CASES}).")
    parser.addoption("--fuzz-seed", type=int, default=0, metavar="N", help="First seed, for other cases.")
    parser.addoption("--fuzz-case", default="", metavar="TARGET:SEED", help="Run one case again.")


def option(config: pytest.Config, name: str, default: Any) -> Any:
    """Its value; the default where pytest has read this file too late to know its options."""
    return config.getoption(name, default)
