"""What the file of a trained encoder says of itself beside the weights, and whether that can be."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.recipe import MOST_PIXELS, Recipe
from selfclean_hooks.embedding.pretrain.representation import VERSION, WEIGHTS
from selfclean_hooks.embedding.weights.stored_tensor import Checkpoint
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.json_content import check
from selfclean_hooks.utils.text import visible

MARK = "selfclean_hooks_encoder"
IMAGES = "pictures"  # name of the number of images in the file


@dataclass(frozen=True)
class Description:
    """See `Pretrained` for the fields."""

    canvas: Canvas
    recipe: Recipe
    epochs: int
    images: int
    seconds: float
    is_unfinished: bool = False
    training: str = ""
    version: int = VERSION

    def __post_init__(self) -> None:
        canvas, numbers = self.canvas, (self.epochs, self.images, self.seconds)
        lengths = {len(canvas.low), len(canvas.high)}
        if not 1 <= canvas.size <= MOST_PIXELS or not 1 <= canvas.channels <= 2**16:
            raise ValueError(f"an input of {canvas.channels} channels and {canvas.size} pixels a side")
        if lengths != {canvas.channels} and (lengths != {0} or canvas.channels not in (1, 3)):
            raise ValueError(f"the ranges of {min(lengths)} of {canvas.channels} channels")
        if not all(
            math.isfinite(low) and low < high < math.inf for low, high in zip(canvas.low, canvas.high, strict=True)
        ):
            raise ValueError("a range of values that is none")
        if not all(0 <= number < 2**53 for number in numbers):
            raise ValueError("numbers of epochs, images or seconds that cannot be")

    def to_json(self) -> str:
        """As it is kept in the file."""
        facts = asdict(self)
        return json.dumps({"version": facts.pop("version"), IMAGES: facts.pop("images"), **facts})


def read_description(file: Checkpoint) -> Description:
    """What a file of an encoder says.

    Raises:
        BackboneError: it is of something else, of another version, or says what cannot be.
    """
    if MARK not in file.says:
        raise BackboneError(
            f"{file.path} is no encoder that selfclean-hooks pretrain wrote (its metadata has no {MARK}): write its "
            f"timm name before it, as resnet18:{file.path}"
        )
    try:
        facts: Any = json.loads(file.says[MARK])
        version = facts["version"]
        is_known = type(version) is int and version in WEIGHTS
        if is_known:  # where it started from matters no more, and need not be there any more
            known = {**facts, "images": facts[IMAGES], "recipe": {**facts["recipe"], "start": "random"}}
            return check(known, Description)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = visible(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        raise BackboneError(
            f"the encoder {file.path} must say what it expects, got metadata that cannot be right ({reason}): train it "
            "anew"
        ) from error
    versions = " or ".join(map(str, WEIGHTS))
    raise BackboneError(
        f"the encoder {file.path} must be of version {versions}, got {visible(repr(version))}: use the version of "
        "selfclean-hooks that wrote it, or train it anew"
    )
