"""Text for people and for tables: characters that are safe to show, short lists, CSV, progress bars."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rich.console import Console


def plain(value: Any) -> Any:
    """The value as JSON knows it: NaN and infinity as None, unknown objects as their text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (str, int, float)) else str(value)


LONGEST = 200  # characters of a name or a sentence where it is shown to people
JOINER = "\u200d"  # not printable by itself, and a part of many emojis


def visible(text: str, most: int = LONGEST) -> str:
    """On one line, for people: what cannot be printed becomes an escape, and of a long text the middle is left out.

    No control character, line break, change of direction or lone surrogate is left.
    """
    shown = "".join(map(escape, text))
    if len(shown) <= most:
        return shown
    half = (most - 3) // 2
    return f"{shown[:half]}...{shown[-half:]}"


def escape(character: str, kept: str = "") -> str:
    """A character as it is if it can be shown or is one of those `kept`, an escape such as \\x1b else."""
    if character.isprintable() or character == JOINER or character in kept:
        return character
    return character.encode("unicode_escape").decode()


def listing(positions: Sequence[int] | NDArray[np.int64], most: int = 10) -> str:
    """Positions as text, the first `most` of them: "3, 17, 40 and 2 more"."""
    shown = ", ".join(str(int(p)) for p in positions[:most])
    return shown + (f" and {len(positions) - most} more" if len(positions) > most else "")


FORMULA = tuple("=+-@\t\n\r\uff1d\uff0b\uff0d\uff20")  # (and full-width): a cell that starts so may run as a formula
# In a cell, where a reader that separates by semicolons or tabs, or ends lines within quotes, begins another one.
INNER_FORMULA = re.compile(r"([;\t\n\r]\s*[\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
SHORT = {"\0": "\\0", "\r": "\\r"}  # escapes of characters that readers of CSV stumble over, even in quotes


Column = list[Any] | NDArray[Any]  # of a table: words, numbers and None, or an array of numbers


def as_csv(columns: Mapping[str, Column]) -> bytes:
    """A table of columns of one length as CSV, missing values as nothing.

    What cannot be shown becomes an escape; words that would run as formulas get an apostrophe.
    """
    buffer = io.StringIO(newline="")
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*map(_cells, columns.values()), strict=True))
    return buffer.getvalue().encode()


def _cells(column: Column) -> list[Any]:
    if isinstance(column, list):
        return [_cell(value) if isinstance(value, str) else value for value in column]
    cells: list[Any] = np.where(np.isnan(column), "", column.astype(str)).tolist()  # as short as they are exact
    return cells


def _cell(text: str) -> str:
    risky = text.startswith(FORMULA) and not NUMBER.fullmatch(text)
    text = INNER_FORMULA.sub(r"\1'", "'" + text if risky else text)
    return text if text.isprintable() else "".join(SHORT.get(c) or escape(c, kept="\n\t") for c in text)


# What stands for bytes of a name that are no text, on systems whose names are bytes.
UNDECODED = frozenset(map(chr, range(0xDC80, 0xDD00))) if os.name == "posix" else frozenset[str]()


def as_lines(names: Iterable[str]) -> bytes:
    """Names of files, one a line, as their bytes are; line breaks and control characters in a name become escapes."""
    lines = ("".join(c if c in UNDECODED else escape(c) for c in name) + "\n" for name in names)
    return "".join(lines).encode("utf-8", "surrogateescape")


NARROWEST, USUAL = 40, 80  # columns of a terminal


def console(stderr: bool = False) -> Console:
    """A console for standard output or error, of the usual width where none is known or nothing would fit.

    Texts are shown as they are: `data.yaml:train:objects` holds no emoji.

    Containers and CI runners have terminals of 0 columns, on which rich prints nothing.
    """
    from rich.console import Console

    found = Console(stderr=stderr, emoji=False)
    return found if found.width >= NARROWEST else Console(stderr=stderr, width=USUAL, emoji=False)


Tick = Callable[[int, int], None]
OpenTick = Callable[[int, int | None], None]  # the total may be unknown


EVERY = 30.0  # seconds between two lines where there is no terminal


@contextmanager
def bar(title: str, show: bool) -> Iterator[OpenTick | None]:
    """A function to call with (done, total), drawn on standard error; None where nothing is to be shown.

    Where that is no terminal, a line every 30 seconds, whether it is called or not: a log would fill with drawings of a
    bar.
    """
    if not show:
        yield None
        return
    screen = console(stderr=True)
    if not (screen.is_terminal or screen.is_jupyter):
        lines = _Lines(visible(title), screen)
        lines.start()
        try:
            yield lines.tick
        finally:
            lines.ended.set()
        return
    from rich import progress as rich

    count, left, spent = rich.MofNCompleteColumn(), rich.TimeRemainingColumn(), rich.TimeElapsedColumn()
    columns = (rich.TextColumn("{task.description}", markup=False), rich.BarColumn(), count, left, spent)
    with rich.Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(visible(title), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Lines(threading.Thread):
    """Prints how far something is, or at least for how long it has been at work, until `ended` is set."""

    def __init__(self, title: str, screen: Console) -> None:
        super().__init__(name="selfclean-hooks progress", daemon=True)
        self.title, self.screen, self.ended = title, screen, threading.Event()
        self.begun = self.last = time.monotonic()

    def tick(self, done: int, total: int | None) -> None:
        """So much is done."""
        now = time.monotonic()
        if now - self.last < EVERY or (total is not None and not 0 < done < total):
            return
        left = (
            "" if total is None else f" of {total:,}, about {duration((now - self.begun) * (total - done) / done)} left"
        )
        self._print(f"{done:,}{left}", now)

    def run(self) -> None:
        """Look at the clock."""
        while not self.ended.wait(EVERY / 10):
            now = time.monotonic()
            if now - self.last >= 1.1 * EVERY:  # whoever has a number comes first
                self._print(f"at work for {duration(now - self.begun)}", now)

    def _print(self, text: str, now: float) -> None:
        self.last = now
        self.screen.print(f"{self.title}: {text}", soft_wrap=True, markup=False)


def duration(seconds: float) -> str:
    """A time in words of two units at most: 45 s, 3 min, 2 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
