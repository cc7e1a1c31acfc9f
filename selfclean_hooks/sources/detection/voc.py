"""Data sets in the format of Pascal VOC: an XML file in `Annotations` for each image in `JPEGImages`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from xml.etree import ElementTree

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.detection.annotations import Annotations, Box, Size

FOLDERS = ("Annotations", "JPEGImages")
LISTS = os.path.join("ImageSets", "Main")
SPLITS = ("train", "val", "test")


def is_voc(path: str) -> bool:
    """Whether a folder holds the two folders of such a data set."""
    return all(os.path.isdir(os.path.join(path, name)) for name in FOLDERS)


def voc_splits(path: str) -> list[str]:
    """The splits that it lists."""
    return [split for split in SPLITS if os.path.isfile(os.path.join(path, LISTS, f"{split}.txt"))]


def read_voc(path: str, split: str = "") -> Annotations:
    """The images of a split, or all of them, and their boxes.

    Raises:
        SourceError: A file is not what it should be; says which.
    """
    names = sorted(name[:-4] for name in os.listdir(os.path.join(path, FOLDERS[0])) if name.endswith(".xml"))
    if split:
        listed = Path(path, LISTS, f"{split}.txt").read_text("utf-8").split("\n")
        wanted = {line.split()[0] for line in listed if line.strip()}
        names = [name for name in names if name in wanted]
    files = [os.path.join(path, FOLDERS[0], f"{name}.xml") for name in names]
    trees = [_parsed(file) for file in files]
    held = [
        [(place, *_object(each, file)) for place, each in enumerate(tree.findall("object"))]
        for tree, file in zip(trees, files, strict=True)
    ]
    classes = sorted({name for objects in held for _, name, _ in objects})
    boxes = [
        Box(image, corners, classes.index(name), place)
        for image, objects in enumerate(held)
        for place, name, corners in objects
    ]
    images = [_image(path, tree, name) for tree, name in zip(trees, names, strict=True)]
    return Annotations(images, [_size(tree) for tree in trees], boxes, tuple(classes), files, path)


def changed_xml(file: str, kept: Mapping[int, str], known: Collection[int]) -> bytes:
    """The file with those objects that are kept, each with the name of its class, and all else as it is.

    Args:
        file: as it is.
        kept: place of an object -> its class.
        known: places of all objects that are samples.
    """
    tree = _parsed(file)
    for place, each in enumerate(tree.findall("object")):
        if place in kept:
            name = each.find("name")
            assert name is not None  # it was read before
            name.text = kept[place]
        elif place in known:
            tree.remove(each)
    return bytes(ElementTree.tostring(tree, encoding="utf-8"))


def _parsed(file: str) -> ElementTree.Element:
    try:
        text = Path(file).read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise SourceError(f"{file}: wanted annotations, got XML with definitions of its own, which are not read")
        return ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError) as error:
        raise SourceError(f"{file}: cannot be read as XML: {error}") from error


def _object(each: ElementTree.Element, file: str) -> tuple[str, tuple[float, float, float, float]]:
    box, name = each.find("bndbox"), (each.findtext("name") or "").strip()
    try:
        left, top, right, bottom = (float(box.findtext(key) or "") for key in ("xmin", "ymin", "xmax", "ymax"))  # type: ignore[union-attr]
    except (AttributeError, ValueError) as error:
        raise SourceError(f"{file}: wanted a bndbox with xmin, ymin, xmax and ymax for {name!r:.40}") from error
    if not name:
        raise SourceError(f"{file}: an object has no name")
    return name, (left - 1, top - 1, right, bottom)  # pixels are counted from 1, both ends included


def _image(path: str, tree: ElementTree.Element, name: str) -> str:
    listed = (tree.findtext("filename") or "").strip()
    for candidate in (listed, f"{name}.jpg", f"{name}.png"):
        if candidate and os.path.isfile(found := os.path.join(path, FOLDERS[1], os.path.basename(candidate))):
            return found
    return os.path.join(path, FOLDERS[1], os.path.basename(listed) or f"{name}.jpg")  # reading it says what is missing


def _size(tree: ElementTree.Element) -> Size | None:
    try:
        width, height = (float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
