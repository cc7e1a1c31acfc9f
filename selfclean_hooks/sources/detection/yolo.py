"""Data sets in the format of YOLO: a data.yaml, and a text file of boxes or polygons beside each image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from selfclean_hooks.data.image_files import image_suffixes, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.detection.annotations import Annotations, Box, bounds
from selfclean_hooks.sources.folder import walk

SPLITS = ("train", "val", "test")
BYTES = 2**20  # of a data.yaml at most


def yolo_splits(path: str) -> dict[str, list[str]]:
    """The splits that a data.yaml names, with the folders and lists of files of each.

    Raises:
        SourceError: It is none.
    """
    content = _content(path)
    folder = os.path.dirname(path)
    root = os.path.join(folder, str(content.get("path") or ""))
    root = root if os.path.isdir(root) else folder
    found = {}
    for split in SPLITS:
        held = content.get(split)
        places = [held] if isinstance(held, str) else held if isinstance(held, list) else []
        if places:
            found[split] = [os.path.normpath(os.path.join(root, str(place))) for place in places]
    if not found:
        came = ", ".join(content) or "none"
        raise SourceError(f"{path}: wanted folders of images under `train` and `val`, got {came}")
    return found


def read_yolo(path: str, split: str) -> Annotations:
    """The images of a split, and the boxes in the files of `labels` beside `images`. Polygons count by their bounds.

    Raises:
        SourceError: A file is not what it should be; says which, and the line.
    """
    content, places = _content(path), yolo_splits(path).get(split, [])
    classes = _classes(content.get("names"), path)
    images = [image for place in places for image in _images(place)]
    files = [label_file(image) for image in images]
    is_pose = "kpt_shape" in content
    boxes = [box for at, file in enumerate(files) for box in _boxes(file, at, len(classes), is_pose)]
    root = os.path.commonpath([os.path.abspath(os.path.dirname(each)) for each in (*images, path)])
    return Annotations(images, [(1.0, 1.0)] * len(images), boxes, classes, files, root)


def label_file(image: str) -> str:
    """Where the boxes of an image are: `labels/1.txt` for `images/1.jpg`, or beside it."""
    parts = Path(image).with_suffix(".txt").parts
    at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    return str(Path(*parts) if at is None else Path(*parts[:at], "labels", *parts[at + 1 :]))


def changed_lines(file: str, kept: Mapping[int, int]) -> bytes:
    """The lines of a file of boxes that are kept, each with the code of its class.

    Args:
        file: as it is.
        kept: place of a line -> its class.
    """
    lines = Path(file).read_text("utf-8").splitlines()
    held = [line.split() for line in lines if line.strip()]
    return "".join(f"{' '.join([str(kept[at]), *held[at][1:]])}\n" for at in sorted(kept)).encode()


def _content(path: str) -> dict[str, Any]:
    try:
        if os.path.getsize(path) > BYTES:
            raise SourceError(f"{path}: wanted the data.yaml of a data set, got more than {BYTES:,} bytes")
        content = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise SourceError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path}: wanted `train`, `val` and `names`, got a {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _classes(names: Any, path: str) -> tuple[str, ...]:
    if isinstance(names, dict) and names and all(type(code) is int and 0 <= code < 10**6 for code in names):
        return tuple(str(names.get(code, code)) for code in range(max(names) + 1))
    if isinstance(names, list) and names:
        return tuple(map(str, names))
    raise SourceError(f"{path}: wanted the classes under `names`, as a list or by number, got {names!r:.60}")


def _images(place: str) -> Sequence[str]:
    if os.path.isdir(place):
        files, _ = walk(place, None)
        return [os.path.join(place, *parts) for parts in sorted(files) if suffix(parts[-1]) in image_suffixes()]
    if os.path.isfile(place):
        try:
            lines = [line.strip() for line in Path(place).read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise SourceError(f"{place}: cannot be read as a list of images: {error}") from error
        return [os.path.normpath(os.path.join(os.path.dirname(place), line)) for line in lines if line]
    raise SourceError(f"{place}: wanted a folder or a list of images, and there is none: check `path` in data.yaml")


def _boxes(file: str, image: int, classes: int, is_pose: bool) -> list[Box]:
    if not os.path.isfile(file):
        return []  # an image without objects
    try:
        lines = [line for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
        return [_box(line, image, place, classes, is_pose) for place, line in enumerate(lines)]
    except (OSError, ValueError) as error:
        raise SourceError(f"{file}: {error}") from error


def _box(line: str, image: int, place: int, classes: int, is_pose: bool) -> Box:
    code, *numbers = map(float, line.split())
    if not (code.is_integer() and 0 <= code < classes):
        raise ValueError(f"line {place + 1}: wanted a class from 0 to {classes - 1}, got {line.split()[0]!r:.20}")
    if len(numbers) in (4, 5) or (is_pose and len(numbers) > 5):  # 5: with a confidence
        x, y, width, height = numbers[:4]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        corners = bounds(numbers)
    else:
        raise ValueError(f"line {place + 1}: wanted 'class x y width height' or a polygon, got {line!r:.60}")
    return Box(image, corners, int(code), place)
