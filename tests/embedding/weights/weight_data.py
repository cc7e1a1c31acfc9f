"""Small models, files of their weights, and what is computed by hand with them."""

from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from torch import Tensor, nn

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.features import evaluation_mode, penultimate
from selfclean_hooks.errors import BackboneError
from tests.helpers.embedding_data import Items, Net, as_image

NAME = "test_resnet"  # of timm: 0.5 million parameters


IMAGES = ImageDataset(Items(make=as_image))


BATCH = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


State = dict[str, Tensor]


def model(name: str = NAME, seed: int = 0, **settings: Any) -> nn.Module:
    """With a classifier, and scales and batch statistics that are not those of a fresh model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = timm.create_model(name, pretrained=False, **{"num_classes": 5, **settings})
        for key, value in made.state_dict().items():
            if value.ndim == 1 and key.endswith(("weight", "running_var")):
                value.copy_(torch.rand(value.shape) + 0.5)
            elif value.ndim == 1:
                value.copy_(torch.randn(value.shape) / 10)
    return made


def by_hand(source: nn.Module, batch: Tensor = BATCH) -> Tensor:
    """The features of the model itself, fed as its configuration says."""
    mean, std = (torch.tensor(cast(Any, source).pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with evaluation_mode(source):
        return penultimate(source, (batch / 255 - mean) / std)


def features(encoder: Encoder, batch: Tensor = BATCH) -> Tensor:
    with encoder.ready():
        return cast(Tensor, encoder.features(batch))


def is_of(source: nn.Module, path: Path, name: str = NAME) -> Encoder:
    """The encoder that a file gives, seen to compute what its source does."""
    encoder = resolve(f"{name}:{path}" if name else str(path), IMAGES, device="cpu")
    expected = by_hand(source)
    assert expected.std(dim=0).max() > 0.001  # the twin tells images apart
    torch.testing.assert_close(features(encoder), expected, rtol=1e-4, atol=1e-4)
    return encoder


def prefixed(source: nn.Module, front: str) -> State:
    return {f"{front}{key}": value for key, value in source.state_dict().items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def refused(text: str | Path) -> str:
    with pytest.raises(BackboneError) as caught:
        resolve(text, IMAGES, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000 + 2 * len(str(text))
    return message


def without(state: State, *starts: str) -> State:
    return {key: value for key, value in state.items() if not key.startswith(starts)}


def different() -> Net:
    source = Net(6)
    with torch.no_grad():
        for tensor in source.state_dict().values():
            tensor.add_(1)
    return source
