"""Which detection data set a SOURCE names: a data.yaml, a .json, a folder of Pascal VOC; `:SPLIT`, `:objects`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from selfclean_hooks.data.image_files import ImageFiles, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.detection.annotations import Annotations, ObjectDataset
from selfclean_hooks.sources.detection.coco import is_coco, read_coco
from selfclean_hooks.sources.detection.voc import is_voc, read_voc, voc_splits
from selfclean_hooks.sources.detection.yolo import SPLITS, read_yolo, yolo_splits

OBJECTS = ":objects"


@dataclass(frozen=True)
class DetectionSource:
    """A detection data set as a SOURCE names it.

    Attributes:
        path: of its data.yaml, JSON or folder.
        kind: "yolo", "coco" or "voc".
        split: "" where none is named.
        is_objects: whether its boxes are the samples, and not its images.
        images: folder of the images of a COCO file; None: it is looked for.
    """

    path: str
    kind: str
    split: str
    is_objects: bool
    images: str | None = None

    def splits(self) -> list[str]:
        """The splits that it holds, the training split first."""
        if self.kind == "yolo":
            return list(yolo_splits(self.path))
        return voc_splits(self.path) if self.kind == "voc" else []

    def read(self) -> Annotations:
        """What it holds; of splits the one named, or the first.

        Raises:
            SourceError: it cannot be read, or has no such split.
        """
        splits = self.splits()
        if self.split and self.split not in splits:
            raise SourceError(f"{self.path}: there is no split {self.split!r}, got {', '.join(splits) or 'none'}")
        if self.kind == "yolo":
            found = read_yolo(self.path, self.split or splits[0])
        else:
            found = read_voc(self.path, self.split) if self.kind == "voc" else read_coco(self.path, self.images)
        if not (found.boxes if self.is_objects else found.images):
            raise SourceError(f"{self.path}: wanted {'boxes' if self.is_objects else 'images'}, and there are none")
        return found

    def text(self, split: str) -> str:
        """The SOURCE of one of its splits."""
        return f"{self.path}:{split}{OBJECTS if self.is_objects else ''}"


def detection_source(text: str) -> DetectionSource | None:
    """What a SOURCE names, None where that is no detection data set."""
    is_objects = text.endswith(OBJECTS) and not os.path.exists(text)
    path, split = text.removesuffix(OBJECTS) if is_objects else text, ""
    if not os.path.exists(path):
        path, _, split = path.rpartition(":")
    kind = _kind(path)
    return DetectionSource(path, kind, split, is_objects) if kind and (not split or split in SPLITS) else None


def open_detection(source: DetectionSource) -> tuple[Any, Annotations]:
    """The boxes or images as a data set, and what the annotations say.

    Raises:
        SourceError: they cannot be read.
    """
    found = source.read()
    if source.is_objects:
        return ObjectDataset(found), found
    dataset: Any = ImageFiles(list(found.images), None, None)
    if len(found.files) == len(found.images):  # one file for each image goes with it
        there = [os.path.relpath(file, found.root) for file in found.files if os.path.isfile(file)]
        dataset.others = [tuple(file.split(os.sep)) for file in there]
    dataset.notes = (f"images alone are audited: {len(found.boxes)} boxes are samples of {source.path}{OBJECTS}",)
    return dataset, found


def detection_splits(text: str) -> dict[str, str]:
    """The splits of a detection data set of which none is named, where there are several; {} else."""
    source = detection_source(text)
    names = source.splits() if source is not None and not source.split else []
    return {name: source.text(name) for name in names} if source is not None and len(names) > 1 else {}


def _kind(path: str) -> str:
    if os.path.isfile(path):
        if suffix(path) in (".yaml", ".yml"):
            return "yolo"
        return "coco" if suffix(path) == ".json" and is_coco(path) else ""
    return "voc" if os.path.isdir(path) and is_voc(path) else ""
