"""Embeddings kept between runs, by encoder and content of the sample, in one SQLite file.

The file is opened anew for each operation: nothing of SQLite is open while workers are forked, and other processes wait
for moments only. It keeps SQLite's default rollback journal: a write-ahead log needs memory shared by all processes,
which there is not on network file systems (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import AuditFileError, SettingError

VERSION = 1
PATIENCE = 120.0  # seconds to wait for another process that writes
SETTINGS = ("PRAGMA page_size = 32768", "PRAGMA auto_vacuum = INCREMENTAL")
TABLES = (  # what changes with every run apart from what is large
    "CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS samples (encoder TEXT, digest TEXT, used INTEGER NOT NULL, id INTEGER NOT NULL, "
    "PRIMARY KEY (encoder, digest)) WITHOUT ROWID",
    f"PRAGMA user_version = {VERSION}",
)
OLDEST = "SELECT id, encoder, digest FROM samples ORDER BY used, id DESC LIMIT ?"  # of one run, the last to come


@contextmanager
def transaction(path: Path, *begin: str, writable: bool) -> Iterator[sqlite3.Connection]:
    """The file within a transaction (started by `begin`), which is undone if anything fails.

    Raises:
        AuditFileError: anything in SQLite, and any ValueError in the transaction: what is read makes no sense.
    """
    where = f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"
    try:
        with closing(sqlite3.connect(where, PATIENCE, isolation_level=None, uri=True)) as file, file:
            for statement in begin or ("BEGIN",):
                file.execute(statement)
            yield file
    except (sqlite3.Error, ValueError) as error:
        if not isinstance(error, sqlite3.OperationalError) or "no such" in str(error):  # table, column
            raise is_damaged(path, str(error)) from error
        waited = f"wait for the process that holds it (for {PATIENCE:.0f} s by now)"
        cure = waited if "locked" in str(error) else "free the disk"
        raise AuditFileError(
            f"the embedding cache {path} cannot be used ({error}): {cure}, or give another cache_dir"
        ) from error


def ensure_schema(path: Path, writable: bool) -> bool:
    """Whether the tables are there; they are made in an empty or missing file that can be written.

    Raises:
        AuditFileError: the file is damaged, of another version, or holds something else.
    """
    with transaction(path, writable=writable) as file:
        version, tables = query_int(file, "PRAGMA user_version"), query_int(file, "SELECT count(*) FROM sqlite_master")
    if version == 0 and tables:
        raise is_damaged(path, "it holds something else")
    if version not in (0, VERSION):
        raise AuditFileError(
            f"the embedding cache {path} must be of version {VERSION}, got {version}: delete the file, or give another "
            "cache_dir"
        )
    if version == 0 and writable:
        with transaction(path, *SETTINGS, "BEGIN IMMEDIATE", *TABLES, writable=True):
            return True
    return version == VERSION


def shrink(file: sqlite3.Connection, limit: int) -> None:
    """Remove the samples used longest ago until the file has at most `limit` bytes, and give its free pages back."""
    page = query_int(file, "PRAGMA page_size")

    def size() -> int:
        return page * (query_int(file, "PRAGMA page_count") - query_int(file, "PRAGMA freelist_count"))

    while (much := size()) > limit and (samples := query_int(file, "SELECT count(*) FROM samples")):
        oldest = file.execute(OLDEST, (math.ceil(samples * (much - limit) / much),)).fetchall()
        file.executemany("DELETE FROM vectors WHERE id = ?", ((row[0],) for row in oldest))
        file.executemany("DELETE FROM samples WHERE encoder = ? AND digest = ?", (row[1:] for row in oldest))
    file.executescript("PRAGMA incremental_vacuum")  # commits first; execute() alone would free a single page


def query_int(file: sqlite3.Connection, query: str) -> int:
    """The one number that a query results in."""
    return int(file.execute(query).fetchone()[0])


def is_damaged(path: Path, came: str) -> AuditFileError:
    """The error for a file that is not as it was written."""
    return AuditFileError(f"the embedding cache {path} cannot be read ({came}): delete the file")


LIMIT = 4 * 2**30  # bytes of the file after a run; while a run adds to it, it may be up to twice as large
SECONDS, ROWS = 10.0, 4096  # after which what waits in memory is written: a kill loses no more
NAME = "embeddings.sqlite"
CHECK = 8  # bytes before each vector
FIND = "SELECT vector FROM samples JOIN vectors USING (id) WHERE encoder = ? AND digest = ?"


class Cache:
    """Vectors by digest of the sample, for one encoder; without a folder, nothing is kept.

    Attributes:
        known: sorted digests of what earlier runs kept; another process may remove some of it at any time.
        note: why nothing, or not everything, is kept although there is a folder, or "".
    """

    def __init__(self, folder: str | Path | None, encoder: str | None) -> None:
        """See what earlier runs with this encoder (its fingerprint, None where it has none) kept.

        Raises:
            AuditFileError: the file is damaged, of another version or locked, or the folder cannot be made.
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
            self._load(Path(folder))

    def get(self, digests: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors (D,) of samples, those that are there.

        Raises:
            AuditFileError: one is damaged, or of another length than others of this encoder.
        """
        found: dict[str, NDArray[np.float32]] = {}
        if not digests or not len(self.known):
            return found
        with transaction(self._path, writable=self._writable) as file:
            for digest in digests:
                row = file.execute(FIND, (self._encoder, digest)).fetchone()
                if row is not None:
                    found[digest] = self._unpacked(digest, row[0])
                    self._bytes_read += found[digest].nbytes
        self._check_lengths(*map(len, found.values()))
        return found

    def keep(self, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Add vectors by digest, those that are finite; they are in the file after `SECONDS` or with `flush`.

        Raises:
            AuditFileError: the file cannot be written, or holds vectors of another length for this encoder.
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
        """Write what waits; all of it or nothing."""
        if self._new:
            with transaction(self._path, "BEGIN IMMEDIATE", writable=True) as file:
                for digest, vector in self._new.items():
                    if file.execute(FIND, (self._encoder, digest)).fetchone() is None:
                        row = file.execute("INSERT INTO vectors (vector) VALUES (?)", (self._packed(digest, vector),))
                        sample = (self._encoder, digest, self._run, row.lastrowid)
                        file.execute("INSERT INTO samples VALUES (?, ?, ?, ?)", sample)
        self._new, self._due = {}, time.monotonic() + SECONDS

    def finish(self, used: Iterable[str]) -> None:
        """The run has used these samples: write what waits, and remove what was not used for longest above `LIMIT`."""
        if not self._writable:
            return
        self.flush()
        mark = "UPDATE samples SET used = max(used, ?) WHERE encoder = ? AND digest = ?"
        with transaction(self._path, "BEGIN IMMEDIATE", writable=True) as file:
            file.executemany(mark, ((self._run, self._encoder, digest) for digest in used))
            shrink(file, LIMIT)

    def _load(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)  # fail fast
        except OSError as error:
            raise AuditFileError(
                f"cache_dir {folder} cannot be made a folder ({error.strerror}): choose another one"
            ) from error
        self._path = folder / NAME
        self._writable = all(os.access(path, os.W_OK) for path in (folder, self._path) if path.exists())
        if not self._writable:
            self.note = f"nothing new is kept in cache_dir: {folder} cannot be written"
        if (self._writable or self._path.exists()) and ensure_schema(self._path, self._writable):
            with transaction(self._path, writable=self._writable) as file:
                rows = file.execute("SELECT digest FROM samples WHERE encoder = ? ORDER BY digest", (self._encoder,))
                self.known = np.array([digest for (digest,) in rows], "S32")
                self._run = 1 + query_int(file, "SELECT coalesce(max(used), 0) FROM samples")

    def _check_lengths(self, *lengths: int) -> None:
        self._lengths.update(lengths)
        if len(self._lengths) > 1:
            lengths_seen = " and ".join(map(str, sorted(self._lengths)))
            raise is_damaged(self._path, f"features of one encoder have {lengths_seen} numbers")

    def _packed(self, digest: str, vector: NDArray[np.float32]) -> bytes:
        """The numbers behind a check of what belongs together: SQLite itself does not see that a page is damaged."""
        content = vector.astype("<f4").tobytes()
        return blake2b(f"{self._encoder}{digest}".encode() + content, digest_size=CHECK).digest() + content

    def _unpacked(self, digest: str, packed: bytes) -> NDArray[np.float32]:
        fits = isinstance(packed, bytes) and len(packed) > CHECK and (len(packed) - CHECK) % 4 == 0
        vector = np.frombuffer(packed, "<f4", offset=CHECK).astype(np.float32) if fits else np.zeros(0, np.float32)
        if not fits or self._packed(digest, vector) != packed:
            raise ValueError(f"the features of sample {digest} are damaged")
        return vector
