"""What timm knows of its models, the likeliest for a name, and where it has their weights from."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from selfclean_hooks.errors import BackboneError, UnknownBackboneError, needs

PRETRAINED = "efficientnet_lite0.ra_in1k"  # of "auto": small, and good at all three issues
HUB_SECONDS = 3.0  # how long an unreachable hub may hold up an audit
FILES = ("model.safetensors", "pytorch_model.bin")
SIZES = {"t": "tiny", "s": "small", "m": "medium", "b": "base", "l": "large", "h": "huge", "g": "giant"}
SIZED = re.compile(r"(vit|swin|deit|beit|cait|convnext|mixer|maxvit)([tsmblhg])")  # vits14, convnext-t
ALIKE, MEANT = 0.75, 0.5  # by letters, of misspellings; by parts, as a share of the name's own


def import_timm(what: str) -> Any:
    """The module timm, for `what`.

    Raises:
        BackboneError: it is not installed.
    """
    with needs("timm", what):
        import timm
    return timm


def check_known(name: str) -> None:
    """Check that timm has a model of this name.

    Raises:
        UnknownBackboneError: it has none; suggests similar names.
    """
    timm = import_timm(f"the backbone {name!r}")
    if not timm.is_model(name.split(".")[0]):
        near = similar_names(name.split(".")[0], timm.list_models()) or [PRETRAINED]
        near = [f"hf:{name}", *near[:2]] if "/" in name else near
        raise UnknownBackboneError(f"backbone {name!r} is no timm model: did you mean {', '.join(near)}?")


def weights_of(name: str) -> str:
    """Path of a timm model's pretrained weights.

    Raises:
        BackboneError: they are not in the local cache, and the hub does not answer soon.
    """
    import huggingface_hub

    timm = import_timm(f"the backbone {name!r}")
    repository = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
    if not repository:
        raise BackboneError(f"timm has no pretrained weights for {name!r}: choose a name with a tag, as {PRETRAINED!r}")
    for file in FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return cached
    try:
        huggingface_hub.HfApi().model_info(repository, timeout=HUB_SECONDS)
        return huggingface_hub.hf_hub_download(repository, FILES[0])
    except Exception as error:  # every HTTP library that the hub has used raises its own
        raise BackboneError(
            f"the weights of {name!r} are not in the local cache and the hub cannot be reached "
            f"({type(error).__name__}): "
            'connect once, pass an nn.Module, or use backbone="self-supervised"'
        ) from error


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
