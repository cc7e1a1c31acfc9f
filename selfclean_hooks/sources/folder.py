"""A folder of images as a data set: which files are images, and which folders are classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

from selfclean_hooks.core.label_text import note_similar_names
from selfclean_hooks.data.image_files import ImageFiles, image_suffixes, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.folder_names import JUNK, is_no_class, is_split

Parts = tuple[str, ...]  # a path below the root

PLUGINS = {"pillow-heif": (".heic", ".heif", ".hif", ".avif")}  # package: endings that it lets Pillow read


class FolderDataset(ImageFiles):
    """The images under a folder, in sorted order.

    Where images are in sub-folders, the first-level folder is their class; of `images/cat/1.png` it is `cat`, as
    a single folder that holds all others is descended first. Images beside class folders carry no label, and folders
    named as splits or as containers (`images`) are no classes. Links are followed, and a folder reached a second time
    is skipped, as are hidden files and what systems leave behind. Images are rotated upright (EXIF) and scaled down to
    at most 2048 pixels a side.

    Args:
        folder: Where to look.
        without: A folder below it that is not read.

    Attributes:
        paths: N paths, each beginning with ``folder`` as given.
        targets: N labels, an index into ``classes``, -1 for none. Absent without class folders.
        classes: Names of the class folders. Absent without class folders.
        notes: What was skipped, one sentence each.
        others: Paths below the folder of the files that are no images.

    Raises:
        SourceError: There is no image, or a folder cannot be listed.
    """

    def __init__(self, folder: str | os.PathLike[str], without: str | os.PathLike[str] | None = None) -> None:
        """List the images; none is opened."""
        root = os.fspath(folder)
        files, repeated = walk(root, without)
        images = sorted(parts for parts in files if is_image(parts))
        others = [parts for parts in files if not is_image(parts)]
        if not images:
            raise SourceError(_no_images_message(root, others))
        classes = folders_below(images, images_root(images))
        names = tuple(sorted(set(classes) - {""}))
        why = _why_no_classes(names, classes.count(""), len(images))
        position = {name: label for label, name in enumerate(names)}
        targets = [position.get(name, -1) for name in classes] if names and not why else None
        paths = [os.path.join(root, *parts) for parts in images]
        super().__init__(paths, targets, names if targets is not None else None)
        self.others = tuple(others)
        strays = classes.count("") if targets is not None else 0
        self.notes = (
            *((why,) if why else ()),
            *((f"{strays} images beside the class folders carry no label",) if strays else ()),
            *(note_similar_names(filter(None, classes)) if targets is not None else ()),
            *_note_annotations(others),
            *_note_skipped(others),
            *((f"{repeated} linked folders were skipped: they lead to folders already listed",) if repeated else ()),
        )


def is_image(parts: Parts) -> bool:
    """Whether the ending of a file is that of an image."""
    return suffix(parts[-1]) in image_suffixes()


def images_root(images: Sequence[Parts]) -> Parts:
    """The folder below which the classes of images lie: down from the root while a single folder holds them in others.

    Stray images beside it do not count; below a folder named as a split or container, strays may lie too.
    """
    root: Parts = ()
    while True:
        inside = [parts for parts in images if parts[: len(root)] == root and len(parts) > len(root) + 1]
        names = {parts[len(root)] for parts in inside}
        deeper = sum(len(parts) > len(root) + 2 for parts in inside)
        if len(names) != 1 or 2 * len(inside) <= len(images) or deeper < len(inside) / (1 + is_no_class(min(names))):
            return root
        root = (*root, min(names))


def folders_below(images: Sequence[Parts], root: Parts) -> list[str]:
    """The folder right below `root` that each image is in, "" for images elsewhere."""
    at = len(root)
    return [parts[at] if parts[:at] == root and len(parts) > at + 1 else "" for parts in images]


def listdir(folder: str) -> list[str]:
    """Sorted names in a folder, without hidden ones and what systems leave behind.

    Raises:
        SourceError: The folder cannot be listed.
    """
    return [entry.name for entry in _entries(folder)]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [each for each in entries if not each.name.startswith(".") and each.name.lower() not in JUNK]
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be listed: {error.strerror}; check its permissions") from error
    return sorted(kept, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def walk(root: str, without: str | os.PathLike[str] | None = None) -> tuple[list[Parts], int]:
    """Every file below root as path parts, and the number of folders skipped because they were reached before.

    A folder `without` is left out.

    Real folders come before linked ones, so that an image is listed under its own name; each is entered once, so that
    cyclic links end.
    """
    left_out = "" if without is None else os.path.realpath(without)
    folders: list[Parts] = [()]
    links: list[Parts] = []
    entered: set[str] = set()
    files: list[Parts] = []
    repeated = 0
    while folders or links:
        parts = folders.pop() if folders else links.pop()
        folder = os.path.join(root, *parts)
        if (real := os.path.realpath(folder)) == left_out and parts:
            continue
        if real in entered:
            repeated += 1
            continue
        entered.add(real)
        for entry in _entries(folder):
            kind = files if not _is_folder(entry) else links if entry.is_symlink() else folders
            kind.append((*parts, entry.name))
    return files, repeated


def _why_no_classes(names: Sequence[str], loose: int, count: int) -> str:
    """Why folders that hold images are not taken for classes; "" where they are, or where there are none."""
    if not names:
        return ""
    if 2 * loose >= count:
        return f"{loose} images are beside folders with images: no labels are taken from folder names"
    if all(is_split(name) for name in names):
        return (
            f"the folders {', '.join(names)} look like splits, not classes: no labels are taken from their names. "
            "Audit them as splits, NAME=DIR each"
        )
    if all(is_no_class(name) for name in names):
        return f"folders named {', '.join(names)} are no classes: no labels are taken from their names"
    return ""


def _no_images_message(root: str, others: Sequence[Parts]) -> str:
    endings = [suffix(parts[-1]) for parts in others]
    found = f"{len(others)} files, none of them an image: {_count_endings(endings)}" if others else "no files"
    wanted = "wanted a folder with images (.jpg, .png, ...) or class folders of them"
    cure = _plugin_advice(endings) or "check the path, or list the images in a .csv file with a `path` column"
    return f"{root}: {wanted}, found {found}; {cure}"


def _plugin_advice(endings: Iterable[str]) -> str:
    found = set(endings)
    wanted = [package for package, its in PLUGINS.items() if found & (set(its) - image_suffixes())]
    return f"install what reads them: pip install {' '.join(wanted)}" if wanted else ""


def _note_skipped(others: Sequence[Parts]) -> tuple[str, ...]:
    if not others:
        return ()
    endings = [suffix(parts[-1]) for parts in others]
    advice = _plugin_advice(endings)
    text = f"{len(others)} files that are not images were skipped: {_count_endings(endings)}"
    return (text + (f"; {advice}" if advice else ""),)


def _note_annotations(others: Sequence[Parts]) -> tuple[str, ...]:
    """Said where text files lie in folders named `labels`, as YOLO has its boxes beside `images`."""
    count = sum(suffix(parts[-1]) == ".txt" and "labels" in (part.lower() for part in parts[:-1]) for parts in others)
    return (
        (f"{count} files in `labels` are annotations of single images, not classes: they are not read",)
        if count
        else ()
    )


def _count_endings(endings: Sequence[str]) -> str:
    """How many of each ending, the most frequent first: ".txt (2), .md (1)"."""
    common = Counter(end or "no ending" for end in endings).most_common()
    return ", ".join(f"{end} ({count})" for end, count in common[:8]) + (", ..." if len(common) > 8 else "")
