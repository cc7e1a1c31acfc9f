"""Part of a folder of images: the same folders and names, an image with a new label in the folder of its class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.folder import Parts, images_root
from selfclean_hooks.sources.folder_names import JUNK
from selfclean_hooks.sources.source import Form, Source
from selfclean_hooks.sources.subsets.subset import Changes, Subset

Placing = Callable[[Parts, str], Parts]  # where a file goes, given its path below the root and its class; "": none


def folder_subset(source: Source, changes: Changes) -> Subset:
    """The kept images of class folders, of a flat folder, or of a data set that lists files, which go to class folders.

    Raises:
        SourceError: a new label cannot be the name of a folder, or files lie in no common folder.
    """
    assert source.dataset is not None
    paths, names = list(source.dataset.paths), source.class_names
    root = source.paths[0] if source.paths else common_folder(paths)
    parts = [tuple(os.path.relpath(path, root).split(os.sep)) for path in paths]
    classes = _classes(source)
    placing = _below(images_root(sorted(parts))) if source.form is Form.folder else _in_class_folder
    is_labelled = names is not None or any(classes)
    new = changes.labels if is_labelled else {}
    for text in dict.fromkeys(new.values()):
        _check_folder_name(text)
    absent = {i for i in changes.unreadable if not os.path.isfile(paths[i])}
    kept = [i for i in changes.kept.tolist() if i not in absent]
    plain = {i: parts[i] if source.form is Form.folder else placing(parts[i], classes[i]) for i in kept if i not in new}
    places = {i: "/".join(place) for i, place in plain.items()}
    taken = {"/".join(each) for each in parts} | set(places.values())
    for i in (i for i in kept if i in new):
        places[i] = free_name("/".join(placing(parts[i], new[i])), classes[i], taken)
        taken.add(places[i])
    others: Sequence[Parts] = getattr(source.dataset, "others", ())
    along = _along(root, parts, others, places, taken)
    files = {places[i]: paths[i] for i in kept}
    files |= {name: path for i in kept for path, name in along.get(i, {}).items()}
    missing, left = len(changes.kept) - len(kept), len(others) - sum(map(len, along.values()))
    notes = (
        *(("new labels are listed and not applied: there are no class folders",) if changes.labels and not new else ()),
        *((f"{missing} files that cannot be found are not taken along",) if missing else ()),
        *((f"{left} files that are no images and belong to none are not taken along",) if left else ()),
    )
    return Subset(files, places={i: places[i] for i in kept}, along=along, notes=notes)


def _along(
    root: str, images: Sequence[Parts], others: Sequence[Parts], places: Mapping[int, str], taken: set[str]
) -> dict[int, dict[str, str]]:
    """Position -> path -> name of the files that belong to its image; of several images, to the first that is kept."""
    along: dict[int, dict[str, str]] = {}
    taken |= {"/".join(other) for other in others}
    for other, its in owners(images, others).items():
        i = next((i for i in its if i in places), its[0])
        name = own = "/".join(other)
        if i in places and (name := follow(other, images[i], places[i])) != own:
            name = free_name(name, images[i][0], taken)
            taken.add(name)
        along.setdefault(i, {})[os.path.join(root, *other)] = name
    return along


def common_folder(paths: Sequence[str]) -> str:
    """The folder that all files lie below.

    Raises:
        SourceError: there is none.
    """
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    except ValueError:
        raise SourceError("the files lie on several drives: give the folder or the table that was audited") from None


def free_name(name: str, former: str, taken: set[str]) -> str:
    """A name that no other file has: with the class that the image had, and with a number if need be."""
    stem, ending = os.path.splitext(name)
    candidate, number = name, 1
    while candidate in taken:
        candidate = f"{stem}_from_{former or 'none'}{'' if number == 1 else f'_{number}'}{ending}"
        number += 1
    return candidate


def _classes(source: Source) -> list[str]:
    """The class of each image, "" for none."""
    labels, names = source.labels, source.class_names
    if labels is None:
        return [""] * len(source.dataset.paths)  # type: ignore[union-attr]
    return [names[code] if names and 0 <= code < len(names) else "" for code in labels]


def _below(root: Parts) -> Placing:
    """Into the folder of a class below `root`, deeper folders kept."""
    depth = len(root)

    def place(parts: Parts, label: str) -> Parts:
        is_inside = parts[:depth] == root and len(parts) > depth + 1
        return (*root, label, *parts[depth + 1 :]) if is_inside else (*root, label, parts[-1])

    return place


def _in_class_folder(parts: Parts, label: str) -> Parts:
    """Into the folder of a class, where the file is not in it already; without a class: where it is."""
    if not label or parts[0] == label:
        return parts
    return (label, *(parts[1:] if len(parts) > 1 else parts))


def _check_folder_name(text: str) -> None:
    is_name = os.path.basename(text) == text and "\\" not in text and "\0" not in text
    if not is_name or text.startswith(".") or text.lower() in JUNK or text != text.strip():
        raise SourceError(
            f"an image with a new label goes to the folder of its class, and {text!r} cannot be the name of one. "
            "Choose another one"
        )


def owners(images: Sequence[Parts], others: Iterable[Parts]) -> dict[Parts, list[int]]:
    """The positions of the images that each file belongs to; files that belong to none are left out."""
    known: dict[Parts, list[int]] = {}
    for i, parts in enumerate(images):
        for name in {parts[-1], os.path.splitext(parts[-1])[0]}:
            known.setdefault((*parts[:-1], name), []).append(i)
    found = {}
    for other in others:
        stem = os.path.splitext(other[-1])[0]
        beside = (*other[:-1], stem)
        of_yolo = (*("images" if part == "labels" else part for part in other[:-1]), stem)
        if its := known.get(beside) or known.get(of_yolo):
            found[other] = its
    return found


def follow(other: Parts, image: Parts, place: str) -> str:
    """Where a file goes whose image goes to `place`: beside it and of its new name, if it lies beside it now."""
    if other[:-1] != image[:-1] or "/".join(image) == place:
        return "/".join(other)
    folder, _, name = place.rpartition("/")
    is_whole = other[-1].startswith(f"{image[-1]}.")  # 1.png.json
    before, after = (image[-1], name) if is_whole else (os.path.splitext(each)[0] for each in (image[-1], name))
    return "/".join(filter(None, [folder, after + other[-1][len(before) :]]))
