"""Progress bars, and nothing where they are not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tick = Callable[[int, int], None]


@contextmanager
def bar(title: str, show: bool) -> Iterator[Tick | None]:
    """A function to call with (done, total), drawn on standard error; None where nothing is to be shown."""
    from rich.console import Console

    console = Console(stderr=True)
    if not show or not (console.is_terminal or console.is_jupyter):  # a log would fill with blank lines
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
