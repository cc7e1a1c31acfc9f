"""A folder of images as a data set."""

from __future__ import annotations

import os
from collections import Counter

from selfclean_hooks.data.image_files import ImageFiles, image_suffixes, suffix
from selfclean_hooks.errors import SourceError

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})


class FolderDataset(ImageFiles):
    """The images under a folder, in sorted order.

    Where every image is in a sub-folder, the first-level folder is its class; otherwise there are no labels. Links are
    followed, and a folder reached a second time is skipped, as are hidden files and ``__MACOSX``. Images are rotated
    upright (EXIF) and scaled down to at most 2048 pixels a side.

    Args:
        folder: Where to look.

    Attributes:
        paths: N paths, each beginning with ``folder`` as given.
        targets: N labels, an index into ``classes``. Absent without class folders.
        classes: Names of the class folders. Absent without class folders.
        notes: What was skipped, one sentence each.

    Raises:
        SourceError: There is no image, or a folder cannot be listed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """List the images; none is opened."""
        root = os.fspath(folder)
        files, repeated = _walk(root)
        endings = image_suffixes()
        images = sorted(parts for parts in files if suffix(parts[-1]) in endings)
        others = [suffix(parts[-1]) for parts in files if suffix(parts[-1]) not in endings]
        if not images:
            raise SourceError(_no_images_message(root, others))
        names = tuple(sorted({parts[0] for parts in images if len(parts) > 1}))
        loose = sum(len(parts) == 1 for parts in images)
        labelled = bool(names) and not loose
        position = {name: label for label, name in enumerate(names)}
        targets = [position[parts[0]] for parts in images] if labelled else None
        super().__init__([os.path.join(root, *parts) for parts in images], targets, names if labelled else None)
        self.notes = _notes(names, loose, others, repeated)


def listdir(folder: str) -> list[str]:
    """Sorted names in a folder, without hidden ones and without ``__MACOSX``.

    Raises:
        SourceError: The folder cannot be listed.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name != "__MACOSX")
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be listed: {error.strerror}; check its permissions") from error


def _walk(root: str) -> tuple[list[tuple[str, ...]], int]:
    """Every file below root as path parts, and the number of folders skipped because they were reached before.

    Real folders come before linked ones, so that an image is listed under its own name; each is entered once, so that
    cyclic links end.
    """
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    entered: set[str] = set()
    files: list[tuple[str, ...]] = []
    repeated = 0
    while folders or links:
        parts = folders.pop() if folders else links.pop()
        folder = os.path.join(root, *parts)
        if (real := os.path.realpath(folder)) in entered:
            repeated += 1
            continue
        entered.add(real)
        for name in listdir(folder):
            entry = os.path.join(folder, name)
            kind = files if not os.path.isdir(entry) else links if os.path.islink(entry) else folders
            kind.append((*parts, name))
    return files, repeated


def _no_images_message(root: str, others: list[str]) -> str:
    found = f"{len(others)} files, none of them an image: {_count_endings(others)}" if others else "no files"
    wanted = "wanted a folder with images (.jpg, .png, ...) or class folders of them"
    return f"{root}: {wanted}, found {found}; check the path, or list the images in a .csv file with a `path` column"


def _notes(names: tuple[str, ...], loose: int, others: list[str], repeated: int) -> tuple[str, ...]:
    notes = []
    if names and loose:
        notes.append(f"{loose} images are beside folders with images: no labels are taken from folder names")
    elif names and SPLIT_NAMES.issuperset(name.lower() for name in names):
        notes.append(f"the class folders {', '.join(names)} look like splits, not classes: audit each by itself")
    if others:
        notes.append(f"{len(others)} files that are not images were skipped: {_count_endings(others)}")
    if repeated:
        notes.append(f"{repeated} linked folders were skipped: they lead to folders already listed")
    return tuple(notes)


def _count_endings(endings: list[str]) -> str:
    """How many of each ending, the most frequent first: ".txt (2), .md (1)"."""
    common = Counter(end or "no ending" for end in endings).most_common()
    return ", ".join(f"{end} ({count})" for end, count in common[:8]) + (", ..." if len(common) > 8 else "")
