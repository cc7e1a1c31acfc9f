"""The SQLite file of the embedding cache: its schema, transactions and size.

It keeps SQLite's default rollback journal: a write-ahead log needs memory shared by all processes, which there is not
on network file systems (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from selfclean_hooks.errors import AuditFileError

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
