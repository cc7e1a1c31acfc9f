"""Fits that are about what is trained on make no thumbnails, a third of the time of an audit."""

from typing import Any

import pytest

import selfclean_hooks.audits.distributed
import selfclean_hooks.training.auditor

PLAIN = ("test_drops", "test_reaudit", "test_resume")


def _none(*_: Any, **__: Any) -> dict[Any, bytes]:
    return {}


@pytest.fixture(autouse=True)
def no_thumbnails(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.path.stem in PLAIN:
        monkeypatch.setattr(selfclean_hooks.audits.distributed, "thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.audits.distributed, "leak_thumbnails", _none)
        monkeypatch.setattr(selfclean_hooks.training.auditor, "thumbnails", _none)
