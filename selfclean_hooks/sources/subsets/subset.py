"""What is taken from a source, and what the new data set is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selfclean_hooks.errors import SourceError
from selfclean_hooks.utils.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Changes:
    """What is taken from a source of N samples.

    Attributes:
        kept: (K,) ascending positions of the samples that are taken.
        labels: position -> new label, as text; of kept samples.
        unreadable: positions of samples that could not be read, whose files may be missing.
    """

    kept: IntArray
    labels: Mapping[int, str] = field(default_factory=dict)
    unreadable: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Subset:
    """What a new data set is made of. All names are relative to its folder, with slashes.

    Attributes:
        files: name -> path of the file that is taken as it is.
        made: name -> what writes it, given its path.
        places: position -> name of the sample's own file; samples that have none are left out.
        along: position -> path -> name of the files that belong to its image; to that of a dropped sample, as they are.
        notes: what the user should know, one sentence each.
    """

    files: Mapping[str, str]
    made: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    places: Mapping[int, str] = field(default_factory=dict)
    along: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def class_code(text: str, names: Iterable[str] | None, what: str = "the data set") -> int:
    """The number of a class.

    Args:
        text: its name, or the number itself where classes have no names.
        names: of the classes 0, 1, ...; None: they have none.
        what: holds the labels, for the message.

    Raises:
        SourceError: there is no such class.
    """
    known = None if names is None else list(names)
    try:
        return int(text) if known is None else known.index(text)
    except ValueError:
        wanted = "a whole number" if known is None else f"one of {', '.join(known[:20])}"
        raise SourceError(
            f"the labels in {what} are numbers: a new label must be {wanted}, got {text!r}. Choose another one"
        ) from None
