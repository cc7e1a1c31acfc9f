"""Names of folders: of splits, of what is no class, and of what systems leave behind."""

from __future__ import annotations

import re

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
