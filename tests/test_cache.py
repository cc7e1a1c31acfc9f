from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_data import Items, Net, mean_colour, pixels
from torch import nn

from selfclean_hooks import audit
from selfclean_hooks.cache import Cache
from selfclean_hooks.embed import Embeddings, embed
from selfclean_hooks.errors import AuditFileError, BackboneError, SettingError


def cached(dataset: Any, backbone: Any, folder: Path) -> Embeddings:
    return embed(dataset, backbone, cache_dir=folder, progress=False)


def test_the_second_run_embeds_nothing_and_gives_the_same_scores(tmp_path: Path) -> None:
    net = Net()
    first = audit(Items(broken=(2,)), net, cache_dir=tmp_path / "a" / "b", progress=False)
    assert net.fed == 11
    again = audit(Items(broken=(2,)), net, cache_dir=str(tmp_path / "a" / "b"), progress=False)
    assert net.fed == 11
    assert first.frame.equals(again.frame)
    assert first.pairs.equals(again.pairs)


def test_a_changed_sample_alone_is_embedded(tmp_path: Path) -> None:
    net, data = Net(), Items()
    cached(data, net, tmp_path)
    data.array[4] = 255 - data.array[4]
    found = cached(data, net, tmp_path)
    assert net.fed == 13
    np.testing.assert_allclose(found.vectors, embed(data, net, progress=False).vectors, atol=1e-6)
    assert len(np.load(next(tmp_path.iterdir()))["vectors"]) == 13


def test_other_labels_and_another_order_need_no_embedding(tmp_path: Path) -> None:
    net = Net()
    first = cached(Items(), net, tmp_path).vectors
    turned = [Items()[i] for i in reversed(range(12))]
    assert np.array_equal(cached([(image, 1 - label) for image, label in turned], net, tmp_path).vectors, first[::-1])
    assert net.fed == 12


def test_encoders_do_not_mix(tmp_path: Path) -> None:
    plain, bent = (nn.Sequential(nn.Flatten(), nn.Linear(192, 4), act) for act in (nn.Identity(), nn.Tanh()))
    bent.load_state_dict(plain.state_dict())
    net, other = Net(), Net()
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    for module in (net, other, plain, bent):
        found = cached(Items(), module, tmp_path).vectors
        assert np.array_equal(found, embed(Items(), module, progress=False).vectors)
    assert len(list(tmp_path.iterdir())) == 4


def test_further_training_is_another_encoder(tmp_path: Path) -> None:
    net = Net()
    cached(Items(), net, tmp_path)
    net.train()(torch.rand(4, 3, 8, 8))  # BatchNorm's running figures alone
    cached(Items(), net, tmp_path)
    assert net.fed == 12 + 4 + 12


def test_functions_are_not_cached_as_they_cannot_be_told_apart(tmp_path: Path) -> None:
    for scale in (1, 2):
        found = cached(Items(), lambda batch, by=scale: mean_colour(batch) * by, tmp_path)
        np.testing.assert_allclose(found.vectors, scale * pixels().mean((1, 2)) / 255, rtol=1e-4)
        assert any("nothing is kept in cache_dir" in note for note in found.notes)
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_refused_are_not_kept(tmp_path: Path) -> None:
    net = Net()
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    with pytest.raises(BackboneError, match="NaN"):
        cached(Items(), net, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other arrays", "other shapes"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    cached(Items(), net := Net(), tmp_path)
    (path,) = tmp_path.iterdir()
    if damage == "other arrays":
        np.savez(path, x=np.zeros(3))
    elif damage == "other shapes":
        np.savez(path, digests=np.array(["a"]), vectors=np.zeros(3, np.float32))
    else:
        path.write_bytes({"cut": path.read_bytes()[:-40], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(AuditFileError, match=f"{path.name} cannot be read .*: delete the file"):
        cached(Items(), net, tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(AuditFileError, match=r"cannot be made a folder .*choose another"):
            cached(Items(), net := Net(), folder)
        assert net.fed == 0


def test_a_cache_dir_that_is_no_path_is_refused() -> None:
    with pytest.raises(SettingError, match="must be the path of a folder or None, got 3"):
        cached(Items(), Net(), 3)  # type: ignore[arg-type]


def test_without_a_folder_nothing_is_known() -> None:
    cache = Cache(None, "a")
    cache.keep({"x": 0}, np.ones((1, 2), np.float32))
    assert "x" not in cache
    assert cache.get("x") is None
    assert cache.note == ""


def test_what_is_kept_is_read_back_beside_what_was_there(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    Cache(tmp_path, "a").keep({"x": 0, "y": 2}, vectors)
    second = Cache(tmp_path, "a")
    second.keep({"z": 1}, vectors)
    third = Cache(tmp_path, "a")
    assert [third.get(name).tolist() for name in "xyz"] == [[0, 1], [4, 5], [2, 3]]  # type: ignore[union-attr]
    assert "x" not in Cache(tmp_path, "b")
