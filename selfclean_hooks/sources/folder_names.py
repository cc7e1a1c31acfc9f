"""Names in paths: of splits, of what is no class, of what systems leave behind, and of groups."""

from __future__ import annotations

import re
from collections.abc import Callable

from selfclean_hooks.errors import SettingError

SPLIT_NAMES = frozenset(
    ["train", "training", "val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing", "holdout"]
)  # of folders, in any case
SPLIT_EXTRAS = frozenset(["set", "data", "dataset", "images", "imgs", "img", "split"])  # beside it: "test_set"
CONTAINER_NAMES = frozenset(  # of folders with all images, with masks or with other images about these
    [
        "images",
        "image",
        "imgs",
        "img",
        "jpegimages",
        "jpg",
        "jpgs",
        "png",
        "pngs",
        "photos",
        "pictures",
        "data",
        "masks",
        "mask",
        "labels",
        "annotations",
        "gt",
        "depth",
        "segmentation",
        "segmentations",
        "segmentationclass",
        "segmentationobject",
    ]
)
JUNK = frozenset(  # that systems, network drives and viewers leave behind, beside hidden files; in small letters
    [
        "__macosx",
        "@eadir",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "thumbnails.db",
        "desktop.ini",
        "__pycache__",
    ]
)


def is_split(name: str) -> bool:
    """Whether a folder is named as a split: "train", "Val", "test_set", "train2017"."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    named = [word for word in words if word in SPLIT_NAMES]
    return len(named) == 1 and all(word in SPLIT_NAMES | SPLIT_EXTRAS for word in words)


def is_no_class(name: str) -> bool:
    """Whether a folder is named as a split or as a container of images."""
    return is_split(name) or name.lower() in CONTAINER_NAMES


def group_of_file(pattern: str) -> Callable[[str], str | None]:
    """A function from the path of a file to its group: the first (...) of a regular expression, None where it is not.

    Raises:
        SettingError: it is no regular expression, or has no such part.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise SettingError(f"{pattern!r} is no regular expression: {error}") from None
    if not compiled.groups:
        raise SettingError(f"{pattern!r} must hold what is alike in the files of a group in (...), as '([^/]+)/frame'")

    def group(file: str) -> str | None:
        found = compiled.search(file)
        return None if found is None else found[1]

    return group
