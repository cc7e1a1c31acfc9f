"""Embeddings kept between runs, by encoder and content of the sample, in one SQLite file.

The cache saves time and nothing depends on it: what is damaged is embedded again, and where the file cannot be used the
run goes on without it. `Cache.note` says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.embedding.cache_file import (
    DamagedError,
    UnusableError,
    ensure_schema,
    query_int,
    set_aside,
    shrink,
    transaction,
)
from selfclean_hooks.errors import SettingError

LIMIT = 4 * 2**30  # bytes of the file after a run; while a run adds to it, it may be up to twice as large
SECONDS, ROWS = 10.0, 4096  # after which what waits in memory is written: a kill loses no more
NAME = "embeddings.sqlite"
CHECK = 8  # bytes before each vector
OF_SAMPLE = "encoder = ? AND digest = ?"
FIND = f"SELECT vector FROM samples JOIN vectors USING (id) WHERE {OF_SAMPLE}"


class OtherFeaturesError(Exception):
    """Features that were kept have another length than those of the encoder: nothing that was kept may be used."""


class Cache:
    """Vectors by digest of the sample, for one encoder; without a folder, nothing is kept.

    Attributes:
        known: sorted digests of what earlier runs kept; another process may remove some of it at any time.
        note: why nothing, or not everything, is kept or used although there is a folder, or "".
    """

    def __init__(self, folder: str | Path | None, encoder: str | None) -> None:
        """See what earlier runs with this encoder (its fingerprint, None where it has none) kept.

        Raises:
            SettingError: `folder` is no path.
        """
        self.note, self.known = "", np.zeros(0, "S32")
        self._path, self._writable = Path(NAME), False
        self._encoder, self._run = encoder or "", 1
        self._bytes_read = self._bytes_new = 0
        self._lengths: set[int] = set()  # of the vectors that were read, and of the first to be kept
        self._new: dict[str, NDArray[np.float32]] = {}
        self._due = time.monotonic() + SECONDS
        if folder is not None and not isinstance(folder, (str, Path)):
            raise SettingError(f"cache_dir must be the path of a folder or None, got {folder!r}")
        if folder is not None and encoder is None:  # two functions of one name would share their embeddings
            self.note = "nothing is kept in cache_dir: a change of a function cannot be detected"
        elif folder is not None:
            self._path = Path(folder) / NAME
            with self._going_on():
                self._load(Path(folder))

    def get(self, digests: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors (D,) of samples, those that are there and as they were written.

        Raises:
            OtherFeaturesError: one is of another length than others of this encoder. The file was put aside.
        """
        found: dict[str, NDArray[np.float32]] = {}
        if not digests or not len(self.known):
            return found
        with self._going_on(), transaction(self._path, writable=self._writable) as file:
            for digest in digests:
                row = file.execute(FIND, (self._encoder, digest)).fetchone()
                vector = None if row is None else self._unpacked(digest, row[0])
                if vector is not None:
                    found[digest] = vector
                    self._bytes_read += vector.nbytes
        self._check_lengths(*map(len, found.values()))
        return found

    def keep(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Add vectors by digest, those that are finite; they are in the file after `SECONDS` or with `flush`.

        Raises:
            OtherFeaturesError: vectors that were read are of another length. The file was put aside.
        """
        if vectors and not self._bytes_new:  # later ones that differ among themselves are the encoder's fault
            self._check_lengths(len(next(iter(vectors.values()))))
        for digest, vector in vectors.items():
            self._bytes_new += vector.nbytes
            if not self._writable or not np.isfinite(vector).all():
                continue
            if self._bytes_read + self._bytes_new > LIMIT:
                self.note = f"cache_dir keeps {LIMIT / 2**30:.3g} GiB at most: not everything of this data set is kept"
            else:
                self._new[digest] = vector
        if time.monotonic() >= self._due or len(self._new) >= ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits; all of it or nothing. Into a new file where the old one turns out to be damaged."""
        for _ in range(2):
            if self._new and self._writable:
                with self._going_on():
                    self._write()
        self._new, self._due = {}, time.monotonic() + SECONDS

    def finish(self, used: Iterable[str]) -> None:
        """The run has used these samples: write what waits, and remove what was not used for longest above `LIMIT`."""
        self.flush()
        if not self._writable:
            return
        mark = f"UPDATE samples SET used = max(used, ?) WHERE {OF_SAMPLE}"
        with self._going_on(), transaction(self._path, "BEGIN IMMEDIATE", writable=True) as file:
            file.executemany(mark, ((self._run, self._encoder, digest) for digest in used))
            shrink(file, LIMIT)

    def _load(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writable = all(os.access(path, os.W_OK) for path in (folder, self._path) if path.exists())
            is_there = self._path.exists()
        except (OSError, ValueError) as error:
            raise UnusableError(getattr(error, "strerror", None) or str(error)) from error
        if not self._writable:
            self.note = f"nothing new is kept in cache_dir: {folder} cannot be written"
        if (self._writable or is_there) and ensure_schema(self._path, self._writable):
            with transaction(self._path, writable=self._writable) as file:
                rows = file.execute("SELECT digest FROM samples WHERE encoder = ? ORDER BY digest", (self._encoder,))
                known = np.array([digest for (digest,) in rows], "S32")
                self._run = 1 + query_int(file, "SELECT coalesce(max(used), 0) FROM samples")
            self.known = known

    def _write(self) -> None:
        with transaction(self._path, "BEGIN IMMEDIATE", writable=True) as file:
            for digest, vector in self._new.items():
                sample = (self._encoder, digest)
                row = file.execute(FIND, sample).fetchone()
                if row is not None and self._unpacked(digest, row[0]) is not None:
                    continue
                file.execute(f"DELETE FROM vectors WHERE id IN (SELECT id FROM samples WHERE {OF_SAMPLE})", sample)
                file.execute(f"DELETE FROM samples WHERE {OF_SAMPLE}", sample)
                new = file.execute("INSERT INTO vectors (vector) VALUES (?)", (self._packed(digest, vector),))
                file.execute("INSERT INTO samples VALUES (?, ?, ?, ?)", (*sample, self._run, new.lastrowid))
        self._new = {}

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """What goes wrong with the file within the block ends its use, or begins a new one, and is noted."""
        try:
            yield
        except UnusableError as error:
            self._turn_off(f"{self._path} cannot be used ({error})")
        except DamagedError as error:
            self._begin_anew(str(error))

    def _begin_anew(self, why: str) -> None:
        self.known = np.zeros(0, "S32")
        if not self._writable:
            self._turn_off(f"{self._path} is damaged ({why}) and cannot be replaced")
            return
        try:
            aside = set_aside(self._path)
            ensure_schema(self._path, True)
        except (OSError, UnusableError, DamagedError) as error:
            self._turn_off(f"{self._path} is damaged ({why}) and cannot be replaced ({error})")
            return
        self._run = 1
        self.note = f"{self._path} was damaged ({why}): it is {aside.name} now, and embeddings are kept in a new file"

    def _turn_off(self, why: str) -> None:
        self.known, self._writable, self._new = np.zeros(0, "S32"), False, {}
        self.note = f"cache_dir is not used in this run: {why}. Free or remove it, or give another cache_dir"

    def _check_lengths(self, *lengths: int) -> None:
        self._lengths.update(lengths)
        if len(self._lengths) > 1:
            seen = " and ".join(map(str, sorted(self._lengths)))
            self._begin_anew(f"features of one encoder have {seen} numbers")
            raise OtherFeaturesError

    def _packed(self, digest: str, vector: NDArray[np.float32]) -> bytes:
        """The numbers behind a check of what belongs together: SQLite itself does not see that a page is damaged."""
        content = vector.astype("<f4").tobytes()
        return blake2b(f"{self._encoder}{digest}".encode() + content, digest_size=CHECK).digest() + content

    def _unpacked(self, digest: str, packed: bytes) -> NDArray[np.float32] | None:
        """The vector; None where it is not as it was written."""
        fits = isinstance(packed, bytes) and len(packed) > CHECK and (len(packed) - CHECK) % 4 == 0
        vector = np.frombuffer(packed, "<f4", offset=CHECK).astype(np.float32) if fits else np.zeros(0, np.float32)
        return vector if fits and self._packed(digest, vector) == packed else None
