"""Short self-supervised training on the data itself, for when no pretrained weights can be had.

The encoder puts two representations side by side: a small convolutional network, trained to see two random views of a
picture as one (VICReg), which sharpens label errors; and a thumbnail of the pixels, which keeps what training loses:
off-topic samples and near copies.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from PIL import Image
from torch import nn

from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.items import to_rgb
from selfclean_hooks.randomness import kept_rng

MAX_PICTURES = 20_000
# pixels a side: smaller pictures are enlarged, photographs lose detail that a minute cannot teach
SMALLEST, LARGEST = 28, 64
PROBED = 64  # pictures looked at to derive the size
WIDTH = 16
PICTURES_SEEN = 50_000  # per training, over all epochs
MIN_EPOCHS, MAX_EPOCHS = 2, 40
LEARNING_RATE = 2e-3
CROP = 0.7  # smallest share of the area that a view shows
PIXEL_SHARE = 1.0  # weight of the thumbnail's cosine distance beside the learned one's


@dataclass(frozen=True)
class Pretrained:
    """A trained encoder and what it expects.

    Attributes:
        encoder: In eval mode, on the device it was trained on. (B, channels, size, size) float in [0, 1] to
            (B, D) float32.
        size: Side of the square input, in pixels.
        channels: 1 where every picture seen is grey, else 3.
        seconds: Wall time of reading and training.
        epochs: Whole epochs trained; fewer than asked for where `max_seconds` ended it.
    """

    encoder: nn.Module
    size: int
    channels: int
    seconds: float
    epochs: int


def pretrain(
    pictures: Sequence[Image.Image] | torch.utils.data.Dataset[Image.Image],
    *,
    seed: int = 0,
    max_seconds: float = 60.0,
    epochs: int | None = None,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Pretrained:
    """Train a small encoder on the pictures themselves, without labels and without the network.

    The same seed gives the same encoder on one machine, as long as `max_seconds` does not end the training. The
    random states of torch, numpy and `random` are left as they were.

    Args:
        pictures: Anything with a length whose items are PIL images of any mode and size. An item that raises
            is skipped. Of more than 20,000 pictures a sample drawn with `seed` is read.
        seed: Of the weights, the order and the random views.
        max_seconds: A guard: training ends after this many seconds, but never before the first step. Reading
            is not counted.
        epochs: Passes over the pictures. None: as many as show the network about 50,000 pictures, between 2 and 40.
        batch_size: Pictures a step, at least 2; at most all of them.
        device: Where to train.
        progress: Called after each step with the steps done and the steps planned.

    Returns:
        The encoder, ready to embed with `shrink` in front of it.

    Raises:
        DataError: Fewer than two pictures can be read.
        SettingError: epochs, batch_size or max_seconds makes no sense.
    """
    _check(max_seconds, epochs, batch_size)
    start = time.monotonic()
    with kept_rng(pictures):
        data = _read(pictures, seed)
        planned = epochs or min(max(PICTURES_SEEN // len(data), MIN_EPOCHS), MAX_EPOCHS)
        # torch.manual_seed would also touch the accelerators, which are not restored
        torch.default_generator.manual_seed(seed)
        encoder = Encoder(data).to(device)
        done = _train(encoder, data, _Plan(seed, max_seconds, planned, min(batch_size, len(data))), progress)
    return Pretrained(encoder.eval(), data.shape[-1], data.shape[1], time.monotonic() - start, done)


def shrink(picture: Image.Image, size: int, channels: int = 3) -> torch.Tensor:
    """One picture as the encoder was shown it.

    Args:
        picture: A PIL image of any mode and size. It is not changed.
        size: Side of the result, in pixels; the picture is squeezed to a square.
        channels: 1 for grey, 3 for RGB.

    Returns:
        (channels, size, size) uint8.
    """
    image = to_rgb(picture)
    if channels == 1:
        image = image.convert("L")
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image).reshape(size, size, channels)).permute(2, 0, 1).contiguous()


class Encoder(nn.Module):
    """Learned features beside a thumbnail, each of fixed length: cosine distance is a weighted mean of the two."""

    def __init__(self, data: torch.Tensor) -> None:
        """Set up an untrained encoder for pictures like these.

        Args:
            data: (N, C, S, S) uint8, from which brightness and size are taken.
        """
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        mean, std = _brightness(data)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.network = _network(data.shape[1], data.shape[-1])
        self.side = 28 if data.shape[1] == 1 else 16  # of the thumbnail: about 780 values either way

    def learned(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, S, S) in [0, 1] to (B, 4 F): the last feature map, averaged over its quarters: layout counts."""
        features = self.network((x - self.mean) / self.std)
        return F.adaptive_avg_pool2d(features, 2).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, S, S) float in [0, 1] to (B, D) float32."""
        thumbnail = F.adaptive_avg_pool2d(x, self.side).flatten(1)
        return torch.cat([F.normalize(self.learned(x)), PIXEL_SHARE**0.5 * F.normalize(thumbnail)], 1)


@dataclass(frozen=True)
class _Plan:
    seed: int
    max_seconds: float
    epochs: int
    batch_size: int


def _check(max_seconds: float, epochs: int | None, batch_size: int) -> None:
    if epochs is not None and epochs < 1:
        raise SettingError(
            f"epochs must be at least 1, got {epochs}: leave it out to have it chosen from the number of pictures"
        )
    if batch_size < 2:
        raise SettingError(
            f"batch_size must be at least 2, got {batch_size}: pictures are told apart from others of their batch"
        )
    if not max_seconds > 0:
        raise SettingError(f"max_seconds must be above 0, got {max_seconds}: 60 is the default")


def _read(pictures: Any, seed: int) -> torch.Tensor:
    """(N, C, S, S) uint8: what can be read, shrunk, grey where all of it is grey."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    size = _side(pictures, order[:PROBED])
    kept = (_attempt(pictures, i) for i in np.sort(order[:MAX_PICTURES]).tolist())
    shrunk = [shrink(picture, size) for picture in kept if picture is not None]
    if len(shrunk) < 2:
        raise DataError(
            f"training on the data needs at least two pictures that can be read, got {len(shrunk)} of {len(pictures)}: "
            "pass backbone= or repair the files"
        )
    data = torch.stack(shrunk)
    grey = bool((data == data[:, :1]).all())
    return data[:, :1].contiguous() if grey else data


def _side(pictures: Any, indices: np.ndarray[Any, Any]) -> int:
    """The median longer side of some pictures, in steps of 4 pixels and within what a minute can train on."""
    probed = [picture for picture in (_attempt(pictures, int(i)) for i in indices) if picture is not None]
    middle = float(np.median([max(picture.size) for picture in probed])) if probed else SMALLEST
    return int(min(max(4 * round(middle / 4), SMALLEST), LARGEST))


def _attempt(pictures: Any, index: int) -> Image.Image | None:
    try:
        picture: Image.Image = pictures[index]
        picture.load()  # a truncated file raises here and not while it is opened
    except Exception:  # whatever a user's data set raises: the audit itself reports the item as unreadable
        return None
    return picture


def _brightness(data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread of each channel, (1, C, 1, 1) each, in [0, 1]; a spread of nothing counts as a grey level."""
    levels = data[:: 1 + len(data) // 4096].float() / 255
    std, mean = torch.std_mean(levels, dim=(0, 2, 3), keepdim=True)
    return mean, std.clamp_min(1 / 255)


def _network(channels: int, size: int) -> nn.Sequential:
    """A four-times narrower ResNet with a stem that leaves about 16 x 16 positions, whatever the size."""
    from torchvision.models.resnet import BasicBlock

    stride = 2 if size < 48 else 4
    stem = [
        nn.Conv2d(channels, WIDTH, 2 * stride - 1, stride, stride - 1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
    ]
    wider = [WIDTH, 2 * WIDTH, 4 * WIDTH]
    blocks = [BasicBlock(n, 2 * n, 2, _shortcut(n)) for n in wider[:2]]
    return nn.Sequential(*stem, BasicBlock(WIDTH, WIDTH), *blocks)


def _shortcut(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, 2, bias=False), nn.BatchNorm2d(2 * channels))


def _train(encoder: Encoder, data: torch.Tensor, plan: _Plan, progress: Callable[[int, int], None] | None) -> int:
    """Train in place; returns the whole epochs done."""
    from lightly.loss import VICRegLoss
    from lightly.models.modules.heads import VICRegProjectionHead

    head = VICRegProjectionHead(4 * WIDTH, 256, 256, num_layers=2)
    model = nn.Sequential(encoder.network, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).to(encoder.mean.device).train()
    batches = len(data) // plan.batch_size
    planned = plan.epochs * batches
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=planned + 1, pct_start=0.15)
    generator = torch.Generator().manual_seed(plan.seed)
    loss_of, end = VICRegLoss(), time.monotonic() + plan.max_seconds
    for step, pictures in enumerate(_batches(data, plan, generator), start=1):
        views = torch.cat([_view(pictures, generator), _view(pictures, generator)]).to(encoder.mean.device)
        first, second = model((views - encoder.mean) / encoder.std).chunk(2)
        optimizer.zero_grad()
        loss_of(first, second).backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step, planned)
        if time.monotonic() > end:
            break
    return step // batches


def _batches(data: torch.Tensor, plan: _Plan, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Full batches, float in [0, 1], in one random order an epoch; what is left over takes its chance in the next."""
    for _ in range(plan.epochs):
        order = torch.randperm(len(data), generator=generator)
        for start in range(0, len(data) - plan.batch_size + 1, plan.batch_size):
            yield data[order[start : start + plan.batch_size]].float() / 255


def _view(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each picture (B, C, S, S) in its own random crop, tilt, mirroring, contrast, brightness, tint and noise.

    Mild on purpose: what a view hides, the features forget, and near duplicates and off-topic samples are told by it.
    """

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(len(x), *shape, generator=generator) * (high - low) + low

    zoom, tilt, stretch = draw(CROP, 1).sqrt(), draw(-0.1, 0.1), draw(-0.08, 0.08).exp()
    mirror = 1 - 2 * torch.randint(2, (len(x),), generator=generator)
    across = torch.stack([zoom * stretch * tilt.cos() * mirror, -zoom * tilt.sin(), draw(-1, 1) * (1 - zoom)], 1)
    down = torch.stack([zoom * tilt.sin() * mirror, zoom / stretch * tilt.cos(), draw(-1, 1) * (1 - zoom)], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(x.shape), align_corners=False)
    seen = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = (middle + (seen - middle) * draw(0.84, 1.16, 1, 1, 1)) * draw(0.88, 1.12, 1, 1, 1)
    if x.shape[1] == 3:
        seen = seen * draw(0.92, 1.08, 3, 1, 1)
    return seen + torch.randn(seen.shape, generator=generator) * draw(0, 0.02, 1, 1, 1)
