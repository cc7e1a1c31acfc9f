"""Packages that are imported late: not installed, or installed beside a torch of another build."""

import sys
from pathlib import Path

import pytest

from selfclean_hooks.embedding.weights.timm_hub import import_timm
from selfclean_hooks.errors import BackboneError, needs


def test_a_package_whose_import_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BackboneError, match=r"needs timm, whose import fails .*nms does not exist.*torch-backend auto"):
        import_timm("the backbone 'resnet18'")


def test_a_package_that_is_missing_is_named_with_its_cure() -> None:
    with pytest.raises(BackboneError, match=r"^this needs no_such: pip install no_such$"), needs("no_such", "this"):
        import no_such  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="other"), needs("no_such", "this"):
        raise ModuleNotFoundError("other", name="other")
