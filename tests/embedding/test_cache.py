import multiprocessing
import os
import signal
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Subset

from selfclean_hooks import audit
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.embedding import cache as cache_module
from selfclean_hooks.embedding import cache_file
from selfclean_hooks.embedding.cache import NAME, Cache
from selfclean_hooks.embedding.cache_file import transaction
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import BackboneError, SettingError
from tests.helpers.embedding_data import Items, Net, as_image, mean_colour, pixels


def cached(dataset: Any, backbone: Any, folder: Path) -> Embeddings:
    return embed(dataset, backbone, cache_dir=folder, progress=False)


def query(folder: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as file:
        return file.execute(sql).fetchall()


change = query


def rows(folder: Path) -> int:
    return int(query(folder, "SELECT count(*) FROM samples JOIN vectors USING (id)")[0][0])


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


FOREIGN = ("CREATE TABLE songs (title)", "CREATE TABLE samples (rate)", "PRAGMA user_version = 7")
ENTRIES = ("a bit", "no numbers", "numbers of another sample", "text", "nothing")
DAMAGES = {
    "no numbers": "UPDATE vectors SET vector = x'00112233445566778899'",
    "numbers of another sample": "UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE id = 1)",
    "text": "UPDATE vectors SET vector = 'seven'",
    "nothing": "UPDATE vectors SET vector = x''",
    "words": "UPDATE samples SET digest = '\u00e4' WHERE digest = (SELECT min(digest) FROM samples)",
    "no table": "DROP TABLE samples",
    "no column": "ALTER TABLE samples RENAME COLUMN digest TO x",
}


def notes_on_cache(found: Embeddings) -> list[str]:
    return [note for note in found.notes if NAME in note or "cache_dir" in note]


@pytest.mark.parametrize("damage", ["truncated", "a bit", "no database", *DAMAGES])
def test_what_is_damaged_is_embedded_again_and_kept_anew(tmp_path: Path, damage: str) -> None:
    found = cached(Items(), net := Net(), tmp_path)
    path, aside = tmp_path / NAME, tmp_path / f"{NAME}.damaged"
    aside.write_bytes(b"an older one")
    if damage in DAMAGES:
        change(tmp_path, DAMAGES[damage])
    else:
        old = path.read_bytes()
        vector = found.vectors[4].tobytes()
        flipped = old.replace(vector, vector[:-1] + bytes([vector[-1] ^ 1]))
        path.write_bytes({"truncated": old[:-50_000], "a bit": flipped, "no database": b"hello" * 99}[damage])
    content = path.read_bytes()
    again = cached(Items(), net, tmp_path)
    np.testing.assert_array_equal(again.vectors, found.vectors)
    assert net.fed > 12
    notes, is_entry = notes_on_cache(again), damage in ENTRIES
    assert len(notes) == (0 if is_entry else 1)
    if is_entry:
        assert aside.read_bytes() == b"an older one"
    elif damage not in ("no column",):
        assert "was damaged" in notes[0]
        assert "is embeddings.sqlite.damaged now" in notes[0]
        assert aside.read_bytes() == content
    fed = net.fed
    cached(Items(), net, tmp_path)
    assert (net.fed == fed) is (damage != "no column")  # which is what another program's file may look like


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE songs (title)", "CREATE TABLE samples (rate)", "PRAGMA user_version = 7"]
)
def test_a_file_of_another_program_or_version_is_left_alone(tmp_path: Path, sql: str) -> None:
    if "version" in sql:
        cached(Items(), Net(), tmp_path)
    change(tmp_path, sql)
    before = (tmp_path / NAME).read_bytes()
    found = cached(Items(), net := Net(), tmp_path)
    assert net.fed == 12
    (note,) = notes_on_cache(found)
    why = "it is of version 7, and not 1" if "version" in sql else "it holds something else"
    assert note == (
        f"cache_dir is not used in this run: {tmp_path / NAME} cannot be used ({why}). Free or remove it, or "
        "give another cache_dir"
    )
    assert (tmp_path / NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("new", ["first", "last"])
def test_features_of_another_length_are_damage(tmp_path: Path, batch_size: int, new: str) -> None:
    cached(Items(6), net := Net(), tmp_path)
    for digest in cached(Items(6), net, tmp_path).digests:
        change(tmp_path, "DELETE FROM samples")
        fingerprint = str(embed(Items(6), net, progress=False).encoder["fingerprint"])
        cache = Cache(tmp_path, fingerprint)
        cache.keep({digest: np.ones(5, np.float32)})
        cache.flush()
        data = Subset(Items(), range(12) if new == "last" else range(11, -1, -1))
        found = embed(data, net, cache_dir=tmp_path, batch_size=batch_size, progress=False)
        plain = embed(data, net, batch_size=batch_size, progress=False)
        assert np.array_equal(found.vectors, plain.vectors)
        (note,) = notes_on_cache(found)
        assert "was damaged (features of one encoder have 5 and 6 numbers)" in note


def test_an_empty_file_and_files_of_older_kinds_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()  # left by a process that was killed at once
    (tmp_path / "0123.npz").write_bytes(b"old")
    for _ in range(2):
        cached(Items(), net := Net(), tmp_path)
    assert rows(tmp_path) == 12
    assert net.fed == 0
    assert (tmp_path / "0123.npz").read_bytes() == b"old"


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


def stored(folder: Path, encoder: str, vectors: dict[str, Any]) -> None:
    """A run with these samples."""
    cache = Cache(folder, encoder)
    cache.keep({name: np.asarray(vector, np.float32) for name, vector in vectors.items() if not cache.get([name])})
    cache.finish(vectors)


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


# --- known samples are not prepared ----------------------------------------------------------------------------------


def small(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def refused(image: Image.Image) -> torch.Tensor:
    raise RuntimeError("this image is known")


def encoder(prepare: Any) -> Encoder:
    return Encoder("mean", mean_colour, None, "fingerprint", prepare)


@pytest.mark.parametrize("workers", [0, 2])
def test_known_samples_are_not_prepared(tmp_path: Path, workers: int) -> None:
    data = Items(make=as_image, broken=(3,))
    first = cached(data, encoder(small), tmp_path)
    again = embed(data, encoder(refused), cache_dir=tmp_path, batch_size=5, num_workers=workers, progress=False)
    assert again.errors == {3: "OSError: item 3 is broken"}
    assert np.array_equal(first.vectors, again.vectors)
    assert first.keys == again.keys
    data.array[5] = 0
    assert list(cached(data, encoder(refused), tmp_path).errors) == [3, 5]


def test_workers_that_are_not_forked_know_what_is_known(tmp_path: Path, started_by_forkserver: None) -> None:
    for workers, prepare in enumerate((small, refused)):
        encoder = Encoder("mean", mean_colour, None, "fingerprint", prepare)
        found = embed(Items(make=as_image), encoder, cache_dir=tmp_path, num_workers=workers, progress=False)
        assert (found.errors, found.notes) == ({}, ())


class Removing(Items):
    """While one item is read, another process removes what is known."""

    def __init__(self, folder: Path) -> None:
        super().__init__(make=as_image)
        self.folder = folder

    def __getitem__(self, index: int) -> Any:
        if index == 7:
            change(self.folder, "DELETE FROM samples")
            change(self.folder, "DELETE FROM vectors")
        return super().__getitem__(index)


def test_what_another_process_removes_meanwhile_is_embedded_again(tmp_path: Path) -> None:
    data = Removing(tmp_path)
    expected = embed(Items(make=as_image), encoder(small), progress=False)
    cached(Items(make=as_image), encoder(small), tmp_path)
    found = embed(data, encoder(small), cache_dir=tmp_path, batch_size=5, progress=False)
    assert np.array_equal(found.vectors, expected.vectors)
    assert rows(tmp_path) == 7


def test_bits_flipped_anywhere(tmp_path: Path) -> None:
    data, mean = Items(30, make=as_image), encoder(small)
    expected = embed(data, mean, progress=False)
    cached(data, mean, tmp_path / "good")
    good = (tmp_path / "good" / NAME).read_bytes()
    rng = np.random.default_rng(0)
    used = [at for at in range(0, len(good), 64) if any(good[at : at + 64])]  # most of the pages is empty
    kinds = {"bit": 200, "truncation": 12, "zeros": 12}
    for kind, number in ((kind, number) for kind, count in kinds.items() for number in range(count)):
        content = bytearray(good)
        at = int(rng.choice(used)) + int(rng.integers(64)) if number % 4 else int(rng.integers(256))
        if kind == "bit":
            content[at] ^= 1 << int(rng.integers(8))
        elif kind == "truncation":
            del content[at:]
        else:
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
        folder = tmp_path / f"{kind}{number}"
        folder.mkdir()
        (folder / NAME).write_bytes(content)
        found = cached(data, mean, folder)
        assert found.vectors.tobytes() == expected.vectors.tobytes(), f"{kind} at byte {at}"
        assert len(notes_on_cache(found)) <= 1


# --- how much is kept ------------------------------------------------------------------------------------------------

MIB = {name: np.full(2**18, at, np.float32) for at, name in enumerate("abcdef")}  # of 1 MiB each


def names(folder: Path) -> list[str]:
    return [name for (name,) in query(folder, "SELECT encoder || digest FROM samples ORDER BY 1")]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LIMIT", 4 * 2**20)
    stored(tmp_path, "1", {"a": MIB["a"], "b": MIB["b"]})
    stored(tmp_path, "2", {"c": MIB["c"]})
    stored(tmp_path, "1", {"a": MIB["a"]})
    assert names(tmp_path) == ["1a", "1b", "2c"]
    stored(tmp_path, "1", {"d": MIB["d"]})
    assert names(tmp_path) == ["1a", "1d", "2c"]
    stored(tmp_path, "3", {"e": MIB["e"], "f": MIB["f"]})
    assert names(tmp_path) == ["1d", "3e", "3f"]
    assert (tmp_path / NAME).stat().st_size <= 4 * 2**20
    assert {name: vector[0] for name, vector in Cache(tmp_path, "3").get("ef").items()} == {"e": 4, "f": 5}


def test_the_file_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, "1", MIB)
    assert (tmp_path / NAME).stat().st_size > 6 * 2**20
    monkeypatch.setattr(cache_module, "LIMIT", 3 * 2**20)
    stored(tmp_path, "1", {"a": MIB["a"]})
    assert (tmp_path / NAME).stat().st_size <= 3 * 2**20
    assert names(tmp_path)[0] == "1a"
    assert len(names(tmp_path)) == 2
    monkeypatch.setattr(cache_module, "LIMIT", 0)
    stored(tmp_path, "1", {})
    assert names(tmp_path) == []
    assert query(tmp_path, "SELECT count(*) FROM vectors") == [(0,)]


def test_of_data_larger_than_the_limit_a_part_is_kept_and_the_same_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LIMIT", 2**20)
    data = Items(60, size=64)  # of 48 KiB each
    expected = embed(data, nn.Flatten(), progress=False).vectors
    kept: list[list[str]] = []
    for _ in range(3):
        found = embed(data, nn.Flatten(), cache_dir=tmp_path, batch_size=7, progress=False)
        assert np.array_equal(found.vectors, expected)
        assert any("not everything of this data set is kept" in note for note in found.notes)
        assert (tmp_path / NAME).stat().st_size <= 2**20
        kept.append(names(tmp_path))
    assert len(kept[0]) >= 14  # two pages of 32 KiB each
    assert kept[0] == kept[1] == kept[2]


def test_no_second_copy_of_the_features_is_held(tmp_path: Path) -> None:
    data = Items(300, size=64)
    embed(data, nn.Flatten(), cache_dir=tmp_path, batch_size=10, progress=False)
    tracemalloc.start()
    try:
        found = embed(data, nn.Flatten(), cache_dir=tmp_path, batch_size=10, progress=False)
        assert tracemalloc.get_traced_memory()[1] < 1.8 * found.vectors.nbytes  # a second copy: above 2
    finally:
        tracemalloc.stop()


# --- several processes, and those that are killed --------------------------------------------------------------------


def processes(*work: Callable[[], Any]) -> list[int | None]:
    """The exit codes of processes that do this at the same time."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(work))

    def run(one: Callable[[], Any]) -> None:
        barrier.wait()
        one()

    children = [context.Process(target=run, args=(one,)) for one in work]
    for child in children:
        child.start()
    for child in children:
        child.join(100)
        child.kill()
    return [child.exitcode for child in children]


def test_two_processes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SECONDS", 0.0)  # each batch is written
    data = Items(150)
    expected = embed(data, net := Net(), progress=False)

    def work() -> None:
        for _ in range(2):
            found = embed(data, net, cache_dir=tmp_path, batch_size=3, progress=False)
            assert np.allclose(found.vectors, expected.vectors, atol=1e-6)

    assert processes(work, work) == [0, 0]
    assert rows(tmp_path) == 300  # and as many by random weights
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    found = cached(data, fresh := Net(), tmp_path)
    assert fresh.fed == 0
    assert np.allclose(found.vectors, expected.vectors, atol=1e-6)


class Deadly(Items):
    """The process that reads one item is killed."""

    def __getitem__(self, index: int) -> Any:
        if index == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_what_was_written_before_a_kill_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SECONDS", 0.0)
    killed = lambda: embed(Deadly(30), Net(), cache_dir=tmp_path, batch_size=6, progress=False)  # noqa: E731
    assert processes(killed) == [-signal.SIGKILL]
    assert rows(tmp_path) == 18
    cached(Items(30), net := Net(), tmp_path)
    assert net.fed == 12


def test_a_kill_in_the_middle_of_writing_leaves_what_was_there(tmp_path: Path) -> None:
    stored(tmp_path, "1", MIB)

    def killed() -> None:
        with transaction(tmp_path / NAME, "PRAGMA cache_size = 2", "BEGIN IMMEDIATE", writable=True) as file:
            file.execute("UPDATE vectors SET vector = zeroblob(1048584)")
            os.kill(os.getpid(), signal.SIGKILL)

    before = (tmp_path / NAME).read_bytes()
    assert processes(killed) == [-signal.SIGKILL]
    assert (tmp_path / NAME).read_bytes() != before  # and a journal lies beside it
    found = Cache(tmp_path, "1").get(MIB)
    assert all(np.array_equal(found[name], MIB[name]) for name in MIB)
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("moment", ["opened", "read", "written"])
def test_a_file_that_stays_locked_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(cache_file, "PATIENCE", 0.0)
    stored(tmp_path, "1", {"a": [1, 2]})
    cache = Cache(tmp_path, "1")
    cache.keep({"b": np.ones(2, np.float32)})
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as file:
        file.execute("BEGIN EXCLUSIVE")
        if moment == "opened":
            cache = Cache(tmp_path, "1")
        elif moment == "read":
            assert cache.get("a") == {}
        else:
            cache.flush()
    assert "(database is locked)" in cache.note
    cache.keep({"c": np.ones(2, np.float32)})
    cache.finish("abc")
    assert cache.get("a") == {}
    assert names(tmp_path) == ["1a"]


@pytest.mark.parametrize("moment", ["opened", "written"])
def test_a_full_disk_ends_the_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    if moment == "written":
        cached(Items(6), Net(), tmp_path)
    full = (*cache_file.SETTINGS, f"PRAGMA max_page_count = {1 if moment == 'opened' else 3}")
    monkeypatch.setattr(cache_file, "SETTINGS", full)
    whole = cache_file.transaction

    def small(path: Path, *begin: str, writable: bool) -> Any:
        limits = (begin[0], full[-1], *begin[1:]) if moment == "opened" else (full[-1], *(begin or ("BEGIN",)))
        return whole(path, *(begin if moment == "opened" else limits), writable=writable)

    monkeypatch.setattr(cache_module, "transaction", small)
    data = Items(3000)
    found = cached(data, net := Net(), tmp_path)
    assert net.fed >= 2994
    (note,) = notes_on_cache(found)
    assert "(database or disk is full)" in note
    assert np.array_equal(found.vectors[:6], cached(Items(6), Net(), tmp_path / "other").vectors)


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(Items(6), net := Net(), tmp_path)
    before = (tmp_path / NAME).read_bytes()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    found = cached(Items(), net, tmp_path)
    assert net.fed == 12
    assert any("nothing new is kept in cache_dir" in note and "cannot be written" in note for note in found.notes)
    assert (tmp_path / NAME).read_bytes() == before
    assert np.array_equal(cached(Items(), net, tmp_path / "empty").vectors[:6], found.vectors[:6])
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_folder_in_the_place_of_the_file_is_left(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    found = cached(Items(), net := Net(), tmp_path)
    assert net.fed == 12
    (note,) = notes_on_cache(found)
    assert "cannot be used (unable to open database file)" in note
    assert (tmp_path / NAME).is_dir()


def test_a_damaged_file_that_cannot_be_replaced_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_bytes(b"hello" * 99)
    for patched in ("access", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, patched, denied if patched == "replace" else lambda path, mode: mode != os.W_OK)
            found = cached(Items(), net := Net(), tmp_path)
        assert net.fed == 12
        (note,) = notes_on_cache(found)
        assert "is damaged (file is not a database) and cannot be replaced" in note
        assert (tmp_path / NAME).read_bytes() == b"hello" * 99


def denied(*_: Any) -> None:
    raise PermissionError(13, "Permission denied")


def test_odd_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b?c#d%20e", "\u00fc", "relative/below"):
        cached(Items(), net := Net(), Path(name))
        cached(Items(), net, Path(name))
        assert net.fed == 12
        assert rows(tmp_path / name) == 12
