"""Settings of a self-supervised training."""

from __future__ import annotations

import os
from dataclasses import dataclass

from selfclean_hooks.errors import SettingError

OBJECTIVES = ("simclr", "vicreg", "barlow-twins", "dino", "mae")
MOST_PIXELS = 1024  # of a side of the input
MAX_SECONDS = 6 * 3600.0  # a small encoder takes minutes: this ends what would otherwise take days
SMALL, SMALL_VIT = "small", "small-vit"  # encoders of our own, sized to the data


@dataclass(frozen=True)
class Recipe:
    """Settings of a training; those that are None follow from the data.

    Attributes:
        objective: what is trained for: simclr, vicreg, barlow-twins, dino (two random views of an image are one thing)
            or mae (hidden patches are predicted from the others).
        encoder: "auto" (a small ResNet; for mae a small ViT), "small", "small-vit", or any timm model by name.
        start: starting weights: "random", "pretrained" (timm's) or the path of a checkpoint for `encoder`.
        size: side of the square input in pixels. None: the median longer side of the images, at least 16, at most 64
            (twice the stride of a timm network, where that is more).
        epochs: passes over the images. None: as many as show the encoder enough images.
        batch_size: images a step, at least 2; at most all of them.
        max_seconds: a guard and no setting of the training: after so many seconds, reading not counted, it stops as it
            is, with a warning, as the encoder then depends on the speed of the machine.
        learning_rate: highest of the schedule. None: what suits the objective and the batch size.
        patience: the training ends early once the nearest neighbours and RankMe of a sample have not changed much in
            this many consecutive checks. 0: never.
        seed: of weights, order and views: the same seed gives the same encoder on one machine, however busy it is and,
            with an encoder of our own, whatever the number of threads.
    """

    objective: str = "simclr"
    encoder: str = "auto"
    start: str = "random"
    size: int | None = None
    epochs: int | None = None
    batch_size: int = 128
    max_seconds: float = MAX_SECONDS
    learning_rate: float | None = None
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise SettingError(f"the objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        if self.epochs is not None and self.epochs < 1:
            raise SettingError(
                f"epochs must be at least 1, got {self.epochs}: leave it out to have it chosen from the number of "
                "images"
            )
        if self.batch_size < 2:
            raise SettingError(
                f"batch_size must be at least 2, got {self.batch_size}: images are compared with others of their batch"
            )
        if not self.max_seconds > 0:
            raise SettingError(f"max_seconds must be above 0, got {self.max_seconds}: {MAX_SECONDS:.0f} is the default")
        if self.size is not None and not 8 <= self.size <= MOST_PIXELS:
            raise SettingError(f"size must be between 8 and {MOST_PIXELS} pixels, got {self.size}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 10:
            raise SettingError(f"learning_rate must be above 0 and below 10, got {self.learning_rate}")
        if self.patience < 0:
            raise SettingError(f"patience must be 0 (never end early) or more, got {self.patience}")
        if self.start not in ("random", "pretrained") and not os.path.isfile(self.start):
            raise SettingError(
                f'start must be "random", "pretrained" or the path of a checkpoint, got {self.start!r}: there is no '
                "such file"
            )
        if self.start == "pretrained" and self.is_small:
            raise SettingError('start="pretrained" needs encoder= the name of a timm model that has such weights')

    @property
    def network(self) -> str:
        """Name of the encoder."""
        return self.encoder if self.encoder != "auto" else SMALL_VIT if self.objective == "mae" else SMALL

    @property
    def is_small(self) -> bool:
        """Whether it is an encoder of our own."""
        return self.network in (SMALL, SMALL_VIT)
