"""Fits that are about what is trained on collect nothing for the page, a third of an audit, and train no encoder."""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import lightning.fabric.utilities.registry
import pytest

import selfclean_hooks.audits.distributed
import selfclean_hooks.results.finding_neighbors
import selfclean_hooks.training.auditor
from selfclean_hooks.embedding.backbones import resolve
from selfclean_hooks.embedding.encoders.encoder import of_callable
from tests.lightning.features.module_features import pixels
from tests.lightning.margins.margin_fits import Blended

WITH_PAGES = (
    "test_data_audit",
    "test_data_shapes",
    "test_kinds_of_data",
    "test_leakage_fit",
    "test_loggers",
    "test_undisturbed",
    "test_undisturbed_module",
)


WITHOUT_PAGES = ("test_samplers", "test_trainer_settings")  # of the last but one: the others have them


@pytest.fixture(scope="package", autouse=True)
def installed_once() -> Iterator[None]:
    """Each trainer looks through all that is installed for callbacks of other packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning.fabric.utilities.registry, "entry_points", cache(entry_points))
        yield


def _none(*_: Any, **__: Any) -> dict[Any, bytes]:
    return {}


@pytest.fixture(autouse=True)
def no_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.path.stem not in WITH_PAGES or request.node.originalname in WITHOUT_PAGES:
        monkeypatch.setattr(selfclean_hooks.audits.distributed, "thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.audits.distributed, "leak_thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.training.auditor, "thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.results.finding_neighbors, "with_evidence", lambda audit, *_: audit)


@pytest.fixture(autouse=True)
def quick_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """What "auto" comes to, without a model hub and without training."""
    really = resolve._named
    quickly = lambda name, *rest: of_callable(pixels) if name == "auto" else really(name, *rest)  # noqa: E731
    monkeypatch.setattr(resolve, "_named", quickly)


@pytest.fixture
def blends() -> Iterator[Blended]:
    found = Blended()
    with found.watching():
        yield found
