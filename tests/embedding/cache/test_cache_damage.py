"""A cache that is damaged, of another program or in the way."""

import os
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import Subset

from selfclean_hooks.embedding.cache import NAME, Cache
from selfclean_hooks.embedding.embed import embed
from tests.embedding.cache.cached_samples import cached, change, denied, encoder, notes_on_cache, rows, small
from tests.helpers.embedding_data import Items, Net, as_image

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


def test_bits_flipped_anywhere(tmp_path: Path) -> None:
    data, mean = Items(30, make=as_image), encoder(small)
    expected = embed(data, mean, progress=False)
    cached(data, mean, tmp_path / "good")
    good = (tmp_path / "good" / NAME).read_bytes()
    rng = np.random.default_rng(0)
    used = [at for at in range(0, len(good), 64) if any(good[at : at + 64])]  # most of the pages is empty
    kinds = {"bit": 80, "truncation": 8, "zeros": 8}
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


def test_odd_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b?c#d%20e", "\u00fc", "relative/below"):
        cached(Items(), net := Net(), Path(name))
        cached(Items(), net, Path(name))
        assert net.fed == 12
        assert rows(tmp_path / name) == 12
