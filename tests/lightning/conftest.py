"""Fits that are about what is trained on compare features alone and collect nothing for the page: a third of an audit.

They train no encoder either. What pixels add is tested in tests/detectors, and in the fits listed here.
"""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import lightning.fabric.utilities.registry
import pytest

import selfclean_hooks.audits.distributed
import selfclean_hooks.audits.pipeline
import selfclean_hooks.training.auditor
from selfclean_hooks.embedding.backbones import resolve
from selfclean_hooks.embedding.encoders.encoder import of_callable
from tests.lightning.features.module_features import pixels
from tests.lightning.margins.margin_fits import Blended

WITH_PAGES = (
    "test_data_audit",
    "test_data_shapes",
    "test_ddp",
    "test_kinds_of_data",
    "test_leakage_fit",
    "test_loggers",
    "test_undisturbed",
    "test_undisturbed_module",
)
WITHOUT_PAGES = ("test_loaders", "test_samplers", "test_trainer_settings", "test_where_the_loaders_come_from")
WITHOUT_PIXELS = ("test_data_shapes", "test_leakage_fit", "test_loggers")  # what features alone find is enough there
WITH_PIXELS = (  # which show that patches of photographs among digits are off-topic
    "test_an_audit_that_stops_the_run_is_saved",
    "test_classes_of_torch_are_as_they_were",
    "test_contaminated_data",
    "test_one_audit_and_one_folder_per_train_loader",
    "test_one_paragraph_says_it_all",
    "test_raise_names_the_issue_and_saves_the_audit",
    "test_two_audits_in_one_trainer",
    "test_what_is_ignored_is_not_mentioned",
)


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
    module, name = request.node.path.stem, request.node.originalname
    has_page = module in WITH_PAGES and name not in WITHOUT_PAGES
    if not has_page:
        monkeypatch.setattr(selfclean_hooks.audits.distributed, "thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.audits.distributed, "leak_thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.training.auditor, "thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.audits.pipeline, "with_evidence", lambda audit, *_: audit)
    if name not in WITH_PIXELS and (module in WITHOUT_PIXELS or not has_page):
        request.getfixturevalue("features_alone")


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
