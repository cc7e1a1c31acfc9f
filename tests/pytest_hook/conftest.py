"""Inner runs of pytest forget what they import: it is imported before the first of them."""

from pathlib import Path

import numpy as np
import pytest

import selfclean_hooks_pytest.assertion  # noqa: F401
from selfclean_hooks import audit


@pytest.fixture(scope="package", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    folder: Path = tmp_path_factory.mktemp("imported") / "audit"
    audit([(image, 0) for image in images], lambda batch: batch.flatten(1), progress=False).save(folder)
