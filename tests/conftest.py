"""Data sets on disk for several tests."""

import atexit
import gc
import os
import random
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from hypothesis import settings
from PIL import Image

from tests.helpers.command_line import audited_once, call, saved, source  # noqa: F401  (fixtures)
from tests.helpers.log_records import caplog  # noqa: F401

settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True)  # the same in every run
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("quick")

SCORED_ANEW = {  # tests of the scores themselves, and of what an audit leaves as it was
    "detectors",
    "neighbors",
    "test_no_side_effects.py",
    "test_scored_once.py",
    "test_undisturbed_module.py",
    "utils",
}

gc.disable()  # while everything is imported


def pytest_collection_finish() -> None:
    """Collections of garbage, a third of the time of small fits, pass over what was imported."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # what tests leave behind is little
    gc.enable()
    atexit.register(gc.unfreeze)  # not before: pytest looks for garbage again and again at its end


@pytest.fixture(scope="session", autouse=True)
def commands_built_once() -> Iterator[None]:
    """From the signatures of their functions: a quarter of a call of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(autouse=True)
def no_seed_left_in_the_environment() -> Iterator[None]:
    """Lightning's `seed_everything` leaves two variables behind, by which later fits change their loaders."""
    yield
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def same_random_numbers_in_any_order() -> None:
    """Networks and shuffled loaders of a test are the same alone, in the suite and in any process of it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (what others draw from)
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(0)  # torch.manual_seed formats a traceback for the devices


@pytest.fixture
def features_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are compared by their features alone: half of a small audit, for tests of something else."""
    import selfclean_hooks.data.reader

    monkeypatch.setattr(selfclean_hooks.data.reader, "miniature", lambda _: None)


@pytest.fixture(scope="session")
def scores_of_session() -> Any:
    from tests.helpers.scored_once import ScoredOnce

    return ScoredOnce()


@pytest.fixture(autouse=True)
def scored_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, scores_of_session: Any) -> None:
    if SCORED_ANEW.isdisjoint(request.path.parts):
        monkeypatch.setattr("selfclean_hooks.detectors.methods.score", scores_of_session)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


@pytest.fixture
def hub(folder: Path) -> Any:
    import datasets as huggingface
    from torchvision.datasets import ImageFolder

    features = huggingface.Features(image=huggingface.Image(), label=huggingface.ClassLabel(names=["cat", "dog"]))
    samples = ImageFolder(str(folder)).samples
    columns = {"image": [path for path, _ in samples], "label": [label for _, label in samples]}
    return huggingface.Dataset.from_dict(columns, features=features)


@pytest.fixture
def audits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that callbacks audit for; an entry for each audit made."""
    import selfclean_hooks.training.auditor

    made: list[int] = []
    really: Any = selfclean_hooks.training.auditor.audit_distributed  # type: ignore[attr-defined]

    def counted(processes: Any, request: Any) -> Any:
        made.append(request.epoch)
        return really(processes, request)

    monkeypatch.setattr(selfclean_hooks.training.auditor, "audit_distributed", counted)
    return made
