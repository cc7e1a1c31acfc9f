"""Garbage is collected after each training, by accelerate: that passes over what the first one imports."""

import gc

import pytest


@pytest.fixture(scope="package", autouse=True)
def imported() -> None:
    import transformers.trainer  # noqa: F401  (what the first training would import)

    gc.collect()
    gc.freeze()
