"""Part of the boxes of a detection data set: its annotation files without some boxes, with other classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from selfclean_hooks.sources.detection.coco import changed_json, kept_images
from selfclean_hooks.sources.detection.formats import detection_source
from selfclean_hooks.sources.detection.voc import changed_xml
from selfclean_hooks.sources.detection.yolo import changed_lines, yolo_splits
from selfclean_hooks.sources.source import Source
from selfclean_hooks.sources.subsets.folder import folder_subset
from selfclean_hooks.sources.subsets.subset import Changes, Subset, class_code

ALONE = "annotations alone are written: put them in the place of the ones that were audited"


def objects_subset(source: Source, changes: Changes) -> Subset:
    """The annotation files with the kept boxes; for YOLO, whose boxes lie beside images, these too and a data.yaml.

    Raises:
        SourceError: a new label is no class of the data set.
    """
    named, data = detection_source(os.path.expanduser(source.name)), source.dataset
    assert named is not None
    assert data is not None
    found = data.annotations
    classes = dict[int, str]()  # of the boxes that are kept
    for i in changes.kept.tolist():
        classes[i] = changes.labels.get(i, found.classes[found.boxes[i].label])
    if named.kind != "voc":
        codes = {text: class_code(text, found.classes, named.path) for text in dict.fromkeys(classes.values())}
    if named.kind == "coco":
        kept = {found.boxes[i].place: codes[text] for i, text in classes.items()}
        content = partial(changed_json, named.path, kept, {box.place for box in found.boxes})
        return Subset({}, {os.path.basename(named.path): _writing(content)}, notes=(ALONE,))
    own: list[dict[int, str]] = [{} for _ in found.images]
    known: list[set[int]] = [set() for _ in found.images]
    for i, box in enumerate(found.boxes):
        known[box.image].add(box.place)
        own[box.image] |= {box.place: classes[i]} if i in classes else {}
    names = [os.path.relpath(file, found.root).replace(os.sep, "/") for file in found.files]
    if named.kind == "voc":
        made = {
            name: _writing(partial(changed_xml, file, own[at], known[at]))
            for at, (name, file) in enumerate(zip(names, found.files, strict=True))
        }
        return Subset({}, made, notes=(ALONE,))
    made = {
        name: _writing(partial(changed_lines, file, {place: codes[text] for place, text in own[at].items()}))
        for at, (name, file) in enumerate(zip(names, found.files, strict=True))
        if os.path.isfile(file)
    }
    split = named.split or named.splits()[0]
    places = [os.path.relpath(place, found.root).replace(os.sep, "/") for place in yolo_splits(named.path)[split]]
    about = {"path": ".", split: places, "names": dict(enumerate(found.classes))}
    made[os.path.basename(named.path)] = _writing(lambda: yaml.safe_dump(about, sort_keys=False).encode())
    files = {os.path.relpath(image, found.root).replace(os.sep, "/"): image for image in found.images}
    return Subset(files, made)


def files_subset(source: Source, changes: Changes) -> Subset:
    """The kept images of a data set of files; of COCO with its annotations, which have the kept images alone.

    Raises:
        SourceError: see `folder_subset`.
    """
    part, named = folder_subset(source, changes), detection_source(os.path.expanduser(source.name))
    if named is None or named.kind != "coco":
        return part
    name = os.path.relpath(named.path, source.paths[0]).replace(os.sep, "/")
    return replace(part, made={name: _writing(partial(kept_images, named.path, set(part.places)))})


def _writing(content: Callable[[], bytes]) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        target.write_bytes(content())

    return write
