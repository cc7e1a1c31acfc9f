"""How a data set is read and embedded, in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from selfclean_hooks.errors import SettingError

if TYPE_CHECKING:
    import torch

Precision = Literal["32", "bf16", "16"]
LEAST = {"batch_size": 1, "num_workers": 0, "seed": 0}


@dataclass(frozen=True)
class EmbeddingSettings:
    """The settings of reading and embedding; the fields have the names of the arguments of `audit`.

    Attributes:
        device: "auto", or a torch device.
        batch_size: samples per forward pass.
        num_workers: worker processes that read the data set; 0: this process reads.
        seed: of self-supervised training and random probes.
        cache_dir: folder where embeddings are kept between runs, or None.
        progress: show progress bars.
        precision: of the forward pass: "32" as the model is, "bf16" or "16" under autocast.
        compile: compile the model with torch.compile.
        timeout: seconds to wait for a sample, or for another process of a training; None: for ever.
        input_key: name or position of the field of an item that is audited; None: by the conventions for items.
        label_key: the same of the label.
        ignore_label: the label that means that a sample has none, as 255.
        group_key: which samples belong together, see `read_groups`; None: none do.
        image_quality: measure how dark, blurry, large ... each image is.
        kept_encoder: the encoder.safetensors of a saved audit, used instead of a training that would come to the same.
        worker_options: further arguments of torch's DataLoader for the workers, as those of the loader in training;
            "dataset_type" is the class that `worker_init_fn` expects its data set to have.

    Raises:
        SettingError: one is not valid; says which.
    """

    device: str | torch.device = "auto"
    batch_size: int = 64
    num_workers: int = 0
    seed: int = 0
    cache_dir: str | Path | None = None
    progress: bool = True
    precision: Precision = "32"
    compile: bool = False
    timeout: float | None = None
    input_key: str | int | None = None
    label_key: str | int | None = None
    ignore_label: int | str | None = None
    group_key: Any = None
    image_quality: bool = False
    kept_encoder: str | Path | None = None
    worker_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check numbers and choices; the device and the folder are checked when they are used."""
        for name, least in LEAST.items():
            _check_whole(name, getattr(self, name), least)
        if self.precision not in get_args(Precision):
            raise SettingError(f'precision must be "32", "bf16" or "16", got {self.precision!r}')
        for name in ("compile", "image_quality"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise SettingError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("input_key", "label_key"):
            key = getattr(self, name)
            if key is not None and (isinstance(key, bool) or not isinstance(key, (str, int))):
                raise SettingError(f"{name} must be the name or position of a field of an item, or None, got {key!r}")
        if not isinstance(self.kept_encoder, (str, Path, NoneType)):
            raise SettingError(f"kept_encoder must be the path of a file or None, got {self.kept_encoder!r}")
        number = isinstance(self.timeout, (int, float, np.number)) and not isinstance(self.timeout, bool)
        if self.timeout is not None and not (number and 0 < self.timeout < np.inf):
            raise SettingError(f"timeout must be a number of seconds above 0, or None for ever, got {self.timeout!r}")

    @property
    def of_encoder(self) -> dict[str, Any]:
        """The arguments of `resolve` that are among the settings, but for the bar."""
        return {"device": self.device, "seed": self.seed, "kept": self.kept_encoder}


def _check_whole(name: str, value: object, least: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value < 2**63:  # type: ignore[operator]  # a whole number
        raise SettingError(f"{name} must be a whole number of at least {least} and below 2**63, got {value!r}")


DEFAULT_SETTINGS = EmbeddingSettings()
