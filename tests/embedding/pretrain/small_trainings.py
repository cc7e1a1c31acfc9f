"""Small images, and encoders trained on them for a moment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import Pretrained
from selfclean_hooks.embedding.pretrain.run import pretrain as train

Images = Sequence[Any]


def pretrain(images: Any, progress: Any = None, trainer: Any = None, partial: Any = None, **recipe: Any) -> Pretrained:
    return train(images, Recipe(**recipe), progress=progress, trainer=trainer, partial=partial)


def noise(count: int, shape: tuple[int, ...] = (28, 28), seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]


def embed(trained: Pretrained, images: Images) -> torch.Tensor:
    batch = torch.stack([trained.canvas(image) for image in images]).float() / 255
    with torch.no_grad():
        embedded: torch.Tensor = trained.encoder(batch)
    return embedded


def untrained(trained: Pretrained) -> torch.nn.Sequential:
    assert trained.encoder.texture is not None
    return trained.encoder.texture.trunk
