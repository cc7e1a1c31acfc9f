"""The SQLite file of the embedding cache: its schema, transactions and size, and what is wrong with it.

The file is opened anew for each transaction: nothing of SQLite is open while workers are forked, and other processes
wait for moments only. It keeps SQLite's default rollback journal: a write-ahead log needs memory shared by all
processes, which there is not on network file systems (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

VERSION = 1
PATIENCE = 120.0  # seconds to wait for another process that writes
SETTINGS = ("PRAGMA page_size = 32768", "PRAGMA auto_vacuum = INCREMENTAL")
TABLES = (  # what changes with every run apart from what is large
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
    "CREATE TABLE samples (encoder TEXT, digest TEXT, used INTEGER NOT NULL, id INTEGER NOT NULL, "
    "PRIMARY KEY (encoder, digest)) WITHOUT ROWID",
)
OLDEST = "SELECT id, encoder, digest FROM samples ORDER BY used, id DESC LIMIT ?"  # of one run, the last to come
OF_DAMAGE = ("no such", "malformed", "decode", "unsupported")  # else the disk, a lock or the rights are at fault
NONSENSE = (ValueError, TypeError, OverflowError, MemoryError)  # about values that were read


class UnusableError(Exception):
    """The file cannot be used now: it is locked, the disk is full, it is another program's."""


class DamagedError(Exception):
    """The file is not as it was written."""


@contextmanager
def transaction(path: Path, *begin: str, writable: bool) -> Iterator[sqlite3.Connection]:
    """The file within a transaction (started by `begin`), which is undone if anything fails.

    Raises:
        UnusableError: the file cannot be opened, read or written.
        DamagedError: it is damaged, or what was read makes no sense (any error about a value within the block).
    """
    try:
        where = f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"
        with closing(sqlite3.connect(where, timeout=PATIENCE, isolation_level=None, uri=True)) as file, file:
            for statement in begin or ("BEGIN",):
                file.execute(statement)
            yield file
    except sqlite3.OperationalError as error:
        is_damaged = any(word in str(error) for word in OF_DAMAGE)
        raise (DamagedError if is_damaged else UnusableError)(str(error)) from error
    except sqlite3.Error as error:
        raise DamagedError(str(error)) from error
    except NONSENSE as error:
        raise DamagedError(f"it holds values that make no sense: {error}") from error
    except OSError as error:
        raise UnusableError(error.strerror or str(error)) from error


def ensure_schema(path: Path, writable: bool) -> bool:
    """Whether the tables are there; they are made in an empty or missing file that can be written.

    Raises:
        UnusableError: it holds something else, or is of another version, or see `transaction`.
        DamagedError: see `transaction`.
    """
    with transaction(path, writable=writable) as file:
        version = query_int(file, "PRAGMA user_version")
        tables = {sql for (sql,) in file.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not tables.issubset(TABLES):
        raise UnusableError("it holds something else")
    if version not in (0, VERSION):
        raise UnusableError(f"it is of version {version}, and not {VERSION}")
    if (version == VERSION) != (len(tables) == len(TABLES)):
        raise DamagedError("tables are missing")
    if version == 0 and writable:
        _make_tables(path)
        return True
    return version == VERSION


def _make_tables(path: Path) -> None:
    with transaction(path, *SETTINGS, "BEGIN IMMEDIATE", writable=True) as file:
        if query_int(file, "PRAGMA user_version") == 0:  # else another process was quicker
            for statement in (*TABLES, f"PRAGMA user_version = {VERSION}"):
                file.execute(statement)


def shrink(file: sqlite3.Connection, limit: int) -> None:
    """Remove the samples used longest ago until the file has at most `limit` bytes, and give its free pages back."""
    page = query_int(file, "PRAGMA page_size")

    def size() -> int:
        return page * (query_int(file, "PRAGMA page_count") - query_int(file, "PRAGMA freelist_count"))

    while (much := size()) > limit and (samples := query_int(file, "SELECT count(*) FROM samples")):
        oldest = file.execute(OLDEST, (math.ceil(samples * (much - limit) / much),)).fetchall()
        before = file.total_changes
        file.executemany("DELETE FROM vectors WHERE id = ?", ((row[0],) for row in oldest))
        file.executemany("DELETE FROM samples WHERE encoder = ? AND digest = ?", (row[1:] for row in oldest))
        if file.total_changes == before:
            raise ValueError("samples cannot be removed")
    file.executescript("PRAGMA incremental_vacuum")  # commits first; execute() alone would free a single page


def query_int(file: sqlite3.Connection, query: str) -> int:
    """The one number that a query results in."""
    return int(file.execute(query).fetchone()[0])


def set_aside(path: Path) -> Path:
    """Rename a damaged file, over an earlier one, with the journal that must not be applied to a new file.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):
        os.replace(f"{path}-journal", f"{aside}-journal")
    with suppress(FileNotFoundError):
        os.replace(path, aside)
    return aside
