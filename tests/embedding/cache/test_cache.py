"""What a cache knows is not embedded again, and nothing else is taken for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfclean_hooks import audit
from selfclean_hooks.embedding.cache import NAME, Cache
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.errors import BackboneError, SettingError
from tests.embedding.cache.cached_samples import cached, notes_on_cache, rows, stored
from tests.helpers.embedding_data import Items, Net, mean_colour, pixels


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
    assert rows(tmp_path) == 13


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
    assert rows(tmp_path) == 48
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_further_training_is_another_encoder(tmp_path: Path) -> None:
    net = Net()
    cached(Items(), net, tmp_path)
    net.train()(torch.rand(4, 3, 8, 8))  # BatchNorm's running figures alone
    cached(Items(), net, tmp_path)
    assert net.fed == 12 + 4 + 12


def test_functions_are_not_cached_as_they_cannot_be_reported_apart(tmp_path: Path) -> None:
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
    assert rows(tmp_path) == 0


def test_without_a_folder_that_can_be_made_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("a\0b")):
        found = cached(Items(), net := Net(), folder)
        assert net.fed == 12
        (note,) = notes_on_cache(found)
        assert note.startswith(f"cache_dir is not used in this run: {folder / NAME} cannot be used (")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_cache_dir_that_is_no_path_is_refused() -> None:
    with pytest.raises(SettingError, match="must be the path of a folder or None, got 3"):
        cached(Items(), Net(), 3)  # type: ignore[arg-type]


def test_without_a_folder_nothing_is_known() -> None:
    cache = Cache(None, "a")
    cache.keep({"x": np.ones(2, np.float32)})
    cache.finish(["x"])
    assert len(cache.known) == 0
    assert cache.get(["x"]) == {}
    assert cache.note == ""


def test_what_is_kept_is_read_back_beside_what_was_there(tmp_path: Path) -> None:
    stored(tmp_path, "a", {"x": [0, 1], "y": [4, 5]})
    stored(tmp_path, "a", {"z": [2, 3]})
    third = Cache(tmp_path, "a")
    assert {name: vector.tolist() for name, vector in third.get("xyz?").items()} == {
        "x": [0, 1],
        "y": [4, 5],
        "z": [2, 3],
    }
    assert third.known.tolist() == [b"x", b"y", b"z"]
    assert all(vector.dtype == np.float32 and vector.flags.writeable for vector in third.get("xyz").values())
    assert len(Cache(tmp_path, "b").known) == 0
    assert Cache(tmp_path, "b").get("xyz") == {}


def test_what_is_kept_first_stays(tmp_path: Path) -> None:
    one, other = Cache(tmp_path, "a"), Cache(tmp_path, "a")
    one.keep({"x": np.zeros(2, np.float32)})
    other.keep({"x": np.ones(2, np.float32), "y": np.ones(2, np.float32)})
    one.flush()
    other.flush()
    assert rows(tmp_path) == 2
    assert Cache(tmp_path, "a").get(["x"])["x"].tolist() == [0, 0]
