"""Names of models that another name may mean, as each library writes them in a way of its own."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence

SIZES = {"t": "tiny", "s": "small", "m": "medium", "b": "base", "l": "large", "h": "huge", "g": "giant"}
SIZED = re.compile(r"(vit|swin|deit|beit|cait|convnext|mixer|maxvit)([tsmblhg])")  # vits14, convnext-t
ALIKE, MEANT = 0.75, 0.5  # by letters, of misspellings; by parts, as a share of the name's own


def similar_names(name: str, known: Sequence[str], most: int = 5) -> list[str]:
    """Known names that `name` may be a misspelling of, or another way to write, the likeliest first.

    `dinov2_vits14` and `vit_small_patch14_dinov2` have the parts dinov, 2, vit, small and 14 in common; rare parts
    count for more.
    """
    name = name.lower().rsplit("/", 1)[-1]  # of microsoft/resnet-50 without its owner
    spelt = difflib.get_close_matches(name, known, most, cutoff=ALIKE)
    parts = {each: _parts(each) for each in known}
    counts = Counter(part for own in parts.values() for part in own)
    weight = {part: math.log(1 + len(known) / count) for part, count in counts.items()}
    unknown, wanted = math.log(1 + len(known)) / 2, _parts(name)

    def total(some: set[str]) -> float:
        return sum(weight.get(part, unknown) for part in some)

    shares = {each: total(own & wanted) / total(wanted) for each, own in parts.items() if own & wanted}
    close = [each for each, share in shares.items() if share >= MEANT]
    close.sort(key=lambda each: (-shares[each], total(parts[each] - wanted), each))
    within = [each for each in known if len(name) > 2 and name in each]
    return list(dict.fromkeys([*spelt, *close[:most], *within]))[:most]


def _parts(name: str) -> set[str]:
    pieces = re.findall(r"[a-z]+|\d+", SIZED.sub(r"\1_\2_", name.lower()))
    return {SIZES.get(piece, piece) for piece in pieces}
