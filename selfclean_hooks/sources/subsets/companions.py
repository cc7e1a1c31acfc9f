"""Files that belong to an image, such as captions and annotations: `1.txt` and `1.png.json` beside `1.png`.

YOLO's `labels/1.txt` belongs to `images/1.png`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from selfclean_hooks.sources.folder import Parts


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
