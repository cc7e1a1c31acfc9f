"""The config.json beside a file of weights, as timm's models have it on the hub."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfclean_hooks.errors import BackboneError

BYTES = 2**20  # of the file at most
LARGEST = 16_384  # of the numbers that a model is made with: widths, depths
MOST_PIXELS = 1024  # of a side of its input
OF_FEEDING = ("mean", "std", "input_size")  # what it says about the input of a model
REFUSED = {"checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable"}


@dataclass(frozen=True)
class Config:
    """What a model is, as far as the file says it.

    Attributes:
        path: of the file.
        architecture: name of timm, perhaps; "" where the file says none.
        feeding: mean, standard deviation and size of its input.
        model_args: further settings to make it with.
    """

    path: Path = Path("config.json")
    architecture: str = ""
    feeding: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)

    def checked(self) -> Config:
        """Itself, known to be of this model.

        Raises:
            BackboneError: it says what cannot be.
        """
        wrong = next(self._wrong(), None)
        if wrong:
            raise BackboneError(f"{self.path} must {wrong}: correct it, or remove it and name the architecture")
        return self

    def _wrong(self) -> Iterator[str]:
        mean, std, size = (self.feeding.get(key) for key in OF_FEEDING)
        if mean is not None and not _is_numbers(mean):
            yield f"have a list of numbers as mean, got {mean!r:.60}"
        if std is not None and not (_is_numbers(std) and min(std) > 0):
            yield f"have a list of numbers above 0 as std, got {std!r:.60}"
        if size is not None and not (_is_numbers(size) and len(size) == 3 and all(_is_side(each) for each in size)):
            yield f"have input_size [channels, height, width], up to {MOST_PIXELS} each, got {size!r:.60}"
        for name, value in self.model_args.items():
            if name in REFUSED:
                yield f"have no {name} in model_args, which are settings of the architecture"
            if name != "num_classes" and not _is_small(value):
                yield f"have numbers up to {LARGEST} in model_args, got {value!r:.60} as {name!r:.60}"


def read_config(path: Path) -> Config:
    """The file; an empty `Config` if there is none, or it is of some other program."""
    try:
        if not path.is_file() or path.stat().st_size > BYTES:
            return Config(path)
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return Config(path)
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        return Config(path)
    feeding, more = config.get("pretrained_cfg") or config, config.get("model_args")
    feeding = {key: feeding[key] for key in OF_FEEDING if key in feeding} if isinstance(feeding, dict) else {}
    return Config(path, config["architecture"], feeding, more if isinstance(more, dict) else {})


def _is_numbers(value: Any) -> bool:
    """Whether it is a short list of finite numbers."""
    return (
        isinstance(value, list)
        and 0 < len(value) <= 4
        and all(type(each) in (int, float) and abs(each) < 2**53 and math.isfinite(each) for each in value)
    )


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_PIXELS


def _is_small(value: Any, depth: int = 0) -> bool:
    """Whether no number in it would make a model without end."""
    if isinstance(value, (list, dict)):
        held = list(value.values()) if isinstance(value, dict) else value
        return depth < 8 and len(held) <= LARGEST and all(_is_small(each, depth + 1) for each in held)
    return value is None or isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) <= LARGEST)
