"""Data sets in the format of COCO: one JSON file of images, categories and annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.detection.annotations import Annotations, Box, Size, bounds

PARTS = ("images", "annotations", "categories")


def is_coco(path: str) -> bool:
    """Whether a .json file seems to be one: its keys are looked for in the first and the last megabyte."""
    try:
        with open(path, "rb") as file:
            head = file.read(2**20)
            file.seek(max(0, os.path.getsize(path) - 2**20))
            text = head + file.read()
    except OSError:
        return False
    return all(f'"{part}"'.encode() in text for part in ("images", "annotations"))


def read_coco(path: str, images: str | None = None) -> Annotations:
    """The images that a file lists, and their boxes; masks without a box count by their bounds.

    Args:
        path: of the file.
        images: folder of the images; None: beside the file, in `images`, or in a folder that the name of the file
            names, as `train2017` for `instances_train2017.json`, there or one folder above.

    Raises:
        SourceError: The file is no such file, or the images are not found.
    """
    content = read_content(path)
    listed = [each for each in content["images"] if isinstance(each.get("file_name"), str)]
    position = {each.get("id"): at for at, each in enumerate(listed)}
    folder = _folder(path, [each["file_name"] for each in listed], images)
    codes = {each.get("id"): code for code, each in enumerate(content["categories"])}
    boxes = []
    for place, each in enumerate(content["annotations"]):
        if each.get("image_id") not in position or each.get("category_id") not in codes:
            raise SourceError(f"{path}: annotation {place} is of no listed image or category: {each!r:.80}")
        if (corners := _corners(each)) is not None:
            boxes.append(Box(position[each["image_id"]], corners, codes[each["category_id"]], place))
    boxes.sort(key=lambda box: box.image)
    names = tuple(str(each.get("name", each.get("id"))) for each in content["categories"])
    paths = [os.path.join(folder, each["file_name"]) for each in listed]
    root = os.path.commonpath([os.path.abspath(place) for place in (os.path.dirname(path), folder)])
    return Annotations(paths, [_size(each) for each in listed], boxes, names, [path], root)


def changed_json(path: str, kept: Mapping[int, int], known: Collection[int]) -> bytes:
    """The file with those annotations that are kept, each with the category of its class, and all else as it is.

    Args:
        path: of the file.
        kept: place of an annotation -> code of its class.
        known: places of all annotations that are samples.
    """
    content = read_content(path)
    changed = []
    for place, each in enumerate(content["annotations"]):
        if place in kept:
            changed.append({**each, "category_id": content["categories"][kept[place]].get("id")})
        elif place not in known:
            changed.append(each)
    return json.dumps({**content, "annotations": changed}).encode()


def kept_images(path: str, kept: Collection[int]) -> bytes:
    """The file with the images at those places among the named ones, with their annotations, and all else as it is."""
    content = read_content(path)
    listed = [each for each in content["images"] if isinstance(each.get("file_name"), str)]
    gone = {each.get("id") for place, each in enumerate(listed) if place not in kept}
    images = [each for each in content["images"] if each.get("id") not in gone]
    annotations = [each for each in content["annotations"] if each.get("image_id") not in gone]
    return json.dumps({**content, "images": images, "annotations": annotations}).encode()


def read_content(path: str) -> dict[str, Any]:
    """The JSON of a file.

    Raises:
        SourceError: It is no such file.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: cannot be read as JSON: {error}") from error
    lists = [content.get(part) for part in PARTS] if isinstance(content, dict) else []
    if not lists or not all(isinstance(part, list) and all(isinstance(each, dict) for each in part) for part in lists):
        raise SourceError(f"{path}: wanted lists of objects under {', '.join(PARTS)}, as COCO has them")
    return dict(content)


def _folder(path: str, names: Sequence[str], images: str | None) -> str:
    places = [images] if images is not None else list(dict.fromkeys(_places(path)))
    for place in places:
        if names and os.path.isfile(os.path.join(place, names[0])):
            return place
    if not names:
        raise SourceError(f"{path}: `images` must list the images of the data set, got none: give another file")
    cure = "put the file beside the folder of images, or name that with --images"
    raise SourceError(f"{path}: {names[0]} is in none of {', '.join(places)}: {cure}")


def _places(path: str) -> Iterator[str]:
    folder, stem = os.path.split(path)
    stem = os.path.splitext(stem)[0]
    for base in (folder, os.path.dirname(folder)):
        yield base or "."
        for name in (stem.rsplit("_", 1)[-1], stem, "images", os.path.join("images", stem.rsplit("_", 1)[-1])):
            yield os.path.join(base, name)


def _corners(each: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    box, mask = each.get("bbox"), each.get("segmentation")
    try:
        if isinstance(box, list) and len(box) == 4:
            x, y, width, height = map(float, box)
            return x, y, x + width, y + height
        if isinstance(mask, list) and mask:
            return bounds([float(number) for polygon in mask for number in polygon])
    except (TypeError, ValueError):
        pass  # of another kind, as it is without
    return None


def _size(each: Mapping[str, Any]) -> Size | None:
    width, height = each.get("width"), each.get("height")
    known = all(isinstance(side, (int, float)) and side > 0 for side in (width, height))
    return (float(width), float(height)) if known else None  # type: ignore[arg-type]
