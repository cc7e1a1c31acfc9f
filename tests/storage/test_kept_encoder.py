"""An audit keeps the encoder that was trained for it: it is used again where the training would come to the same."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from selfclean_hooks import Audit, audit, audit_splits
from selfclean_hooks.embedding.backbones import self_supervised
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import load, pretrain, save
from selfclean_hooks.errors import AuditFileError, SettingError
from tests.helpers.format_data import two
from tests.lightning.fits import Net, audit_callback, clean_data, trainer

ENCODER = "encoder.safetensors"
Call = Callable[..., Any]


def images(count: int = 12, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (24, 20), dtype=np.uint8)) for _ in range(count)]


def data(*args: int) -> list[tuple[Image.Image, int]]:
    return [(image, i % 2) for i, image in enumerate(images(*args))]


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)


@pytest.fixture(scope="module")
def content() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_supervised, "EPOCHS", 1)
        return audit(data(), "self-supervised", progress=False).encoder_file


def kept_of(found: Audit) -> list[str]:
    return [note for note in found.provenance["notes"] if "backbone:" in note]


def audited(*args: int, **options: Any) -> Audit:
    return audit(data(*args), "self-supervised", progress=False, **options)


def test_it_is_saved_loaded_and_a_backbone(tmp_path: Path) -> None:
    first = audited()
    first.save(tmp_path)
    assert (tmp_path / ENCODER).read_bytes() == first.encoder_file
    assert Audit.load(tmp_path).encoder_file == first.encoder_file
    again = audit(data(), tmp_path / ENCODER, progress=False)
    np.testing.assert_array_equal(again.scores.off_topic, first.scores.off_topic)
    again.save(tmp_path)  # keeps what it was made with
    assert (tmp_path / ENCODER).read_bytes() == first.encoder_file
    audit(data(), lambda batch: batch.flatten(1), progress=False).save(tmp_path)
    assert not (tmp_path / ENCODER).exists()
    assert Audit.load(tmp_path).encoder_file == b""


def test_it_is_used_where_the_training_would_come_to_the_same(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / ENCODER
    kept.write_bytes(content)
    assert kept_of(audited(kept_encoder=tmp_path / "none"))[0].startswith("backbone: trained on the data itself, 1 ")
    (changed,) = kept_of(audited(12, 1, kept_encoder=kept))
    (seeded,) = kept_of(audited(seed=1, kept_encoder=kept))
    reason = f"the encoder kept in {kept} is of other images or another training"
    assert changed.startswith("backbone: trained on the data itself, 1 epochs")
    assert changed.endswith(reason)
    assert seeded.endswith(reason)
    (fewer,) = kept_of(audited(11, kept_encoder=kept))
    assert fewer.endswith(reason)
    monkeypatch.setattr("selfclean_hooks.embedding.pretrain.run.fit", None)  # from here on nothing is trained
    found = audited(kept_encoder=kept)
    assert kept_of(found) == [f"backbone: {kept}, trained on the same images by an earlier audit, 1 epochs"]
    assert found.encoder_file == content
    other_labels = [(image, 0) for image in images()]
    assert "earlier audit" in kept_of(audit(other_labels, "self-supervised", progress=False, kept_encoder=kept))[0]


def test_arrays_of_another_range_are_other_images(tmp_path: Path) -> None:
    """They are fed as the same bytes, and the encoder must know how."""
    rng = np.random.default_rng(0)
    arrays = [rng.random((5, 12, 12)) for _ in range(12)]
    audit(arrays, "self-supervised", progress=False).save(tmp_path)
    found = audit([10 * x for x in arrays], "self-supervised", progress=False, kept_encoder=tmp_path / ENCODER)
    assert "is of other images" in kept_of(found)[0]


def test_an_unfinished_or_damaged_one_is_replaced(content: bytes, tmp_path: Path) -> None:
    kept = tmp_path / ENCODER
    kept.write_bytes(content)
    save(replace(load(kept), is_unfinished=True), kept)
    assert kept_of(audited(kept_encoder=kept))[0].endswith(f"the encoder kept in {kept} is unfinished")
    kept.write_bytes(content[: len(content) // 2])
    assert "; the encoder kept by an earlier audit cannot be used: " in kept_of(audited(kept_encoder=kept))[0]
    with pytest.raises(SettingError, match="kept_encoder must be the path of a file or None, got 3"):
        audited(kept_encoder=3)


def test_pretrain_gives_an_earlier_encoder_back(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1)
    first = pretrain(images(), recipe)
    assert pretrain(images(), replace(recipe, max_seconds=60.0), kept=first) is first
    for other in (replace(recipe, epochs=2), replace(recipe, batch_size=6), replace(recipe, objective="vicreg")):
        assert pretrain(images(), other, kept=first) is not first
    again = pretrain(images(), recipe, kept=replace(first, training=""))  # of a version that did not write it
    assert again is not first
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(again.encoder(x), first.encoder(x))


def test_the_command_uses_that_of_the_folder(folder: Path, tmp_path_factory: Any, call: Call) -> None:
    out = tmp_path_factory.mktemp("out")
    arguments = ["audit", folder, "-o", out, "--backbone", "self-supervised", "--no-progress"]
    assert "trained on the data itself" in call(*arguments).err
    before = (out / ENCODER).read_bytes()
    assert "trained on the same images by an earlier audit" in call(*arguments).err
    assert (out / ENCODER).read_bytes() == before
    Image.new("RGB", (24, 20), "red").save(folder / "cat" / "new.png")
    assert "is of other images or another training" in call(*arguments).err
    assert (out / ENCODER).read_bytes() != before


def test_of_splits_it_is_kept_with_the_first(folder: Path, tmp_path_factory: Any, call: Call) -> None:
    out = tmp_path_factory.mktemp("out")
    found = audit_splits({"val": data(6, 1), "train": data()}, "self-supervised", progress=False)
    assert {name: bool(one.encoder_file) for name, one in found.audits.items()} == {"train": True, "val": False}
    arguments = ["audit", f"val={folder / 'cat'}", f"train={folder}", "-o", out, "--backbone", "self-supervised"]
    call(*arguments)
    assert (out / "train" / ENCODER).exists()
    assert not (out / "val" / ENCODER).exists()
    assert "by an earlier audit" in call(*arguments).err


def small(content: bytes) -> Audit:
    return replace(two()["train"], encoder_file=content)


def test_one_that_was_removed_or_changed_is_none(content: bytes, tmp_path: Path) -> None:
    small(content).save(tmp_path)
    (tmp_path / ENCODER).write_bytes(content + b"more")
    assert Audit.load(tmp_path).encoder_file == b""
    (tmp_path / ENCODER).unlink()
    assert Audit.load(tmp_path).encoder_file == b""


@pytest.mark.parametrize("has_audit", [False, True])
def test_one_of_the_users_is_moved_aside_and_never_lost(has_audit: bool, content: bytes, tmp_path: Path) -> None:
    if has_audit:
        small(content).save(tmp_path)
    save(pretrain(images(4), Recipe(epochs=1)), tmp_path / ENCODER)
    mine = (tmp_path / ENCODER).read_bytes()
    small(content).save(tmp_path)
    assert (tmp_path / "encoder.1.safetensors").read_bytes() == mine
    assert (tmp_path / ENCODER).read_bytes() == content
    small(b"").save(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["encoder.1.safetensors"]


def test_the_same_one_is_not_moved(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ENCODER).write_bytes(content)
    small(content).save(tmp_path)
    small(content).save(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == [ENCODER]


def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ENCODER).write_text("mine")
    refusals: Sequence[Callable[[], None]] = [lambda: small(content).save(tmp_path), lambda: small(b"").save(tmp_path)]
    for refused in refusals:
        with pytest.raises(AuditFileError, match=f"holds {ENCODER}, which no audit wrote"):
            refused()
    assert (tmp_path / ENCODER).read_text() == "mine"


@pytest.mark.filterwarnings("ignore::selfclean_hooks.errors.DataWarning")
def test_a_training_uses_that_of_its_folder(tmp_path: Path) -> None:
    found = []
    for settings in ({}, {}, {"seed": 3}):
        callback = audit_callback(tmp_path, backbone="self-supervised", check_leakage=False, **settings)
        trainer(callback, max_epochs=1).fit(Net(), DataLoader(clean_data(), batch_size=32))
        found += kept_of(Audit.load(tmp_path))
    trained, used, other = found
    assert trained.startswith("backbone: trained on the data itself")
    assert "trained on the same images by an earlier audit" in used
    assert other.endswith("is of other images or another training")
