"""Images -> one tensor in memory: read once, shrunk, and seen many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from numpy.typing import NDArray
from PIL import Image

from selfclean_hooks.data.images import shrink
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.text import Tick

MAX_IMAGES = 20_000
MAX_BYTES = 2 << 30  # of all images together
# pixels a side: smaller images are enlarged, photographs lose detail that minutes cannot teach
SMALLEST, LARGEST = 16, 64
PROBED = 64  # images read to derive the size

ImageLike = Image.Image | NDArray[Any]  # an array is (C, H, W), of any number of channels


@dataclass(frozen=True)
class Canvas:
    """How an image is converted to the encoder's input.

    Attributes:
        size: side of the square, in pixels; images are resized to it, whatever their aspect ratio.
        channels: 1 where all are grey, 3 for colour, C for arrays of C channels.
        low: per channel of an array the value that becomes 0; () for images of 8 bits.
        high: the value that becomes 255.
    """

    size: int
    channels: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __call__(self, image: ImageLike) -> torch.Tensor:
        """(channels, size, size) uint8 of an image, which is not changed.

        Raises:
            DataError: an array of another number of channels.
        """
        if isinstance(image, Image.Image):
            if self.channels not in (1, 3):
                raise self._other(len(image.getbands()))
            return shrink(image, self.size, self.channels)
        if len(image) != len(self.low):
            raise self._other(len(image))
        x = torch.from_numpy(np.nan_to_num(image.astype(np.float32)))[None]
        x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)[0]
        low, high = (torch.tensor(values)[:, None, None] for values in (self.low, self.high))
        return ((x - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)

    def _other(self, channels: int) -> DataError:
        return DataError(f"images must have as many channels as the first ones, {self.channels}: got {channels}")


def read(images: Any, size: int | None, seed: int, tick: Tick | None = None) -> tuple[torch.Tensor, Canvas]:
    """Read and shrink the images; of more than 20,000, or than fit into 2 GiB, a sample drawn with `seed`.

    Args:
        images: has a length; items are PIL images or (C, H, W) arrays. One that raises is skipped.
        size: side in pixels. None: derived from the images.
        seed: of the sample.
        tick: progress, called with (read, all).

    Returns:
        (N, C, S, S) uint8 in order, one channel where all of it is grey; how they were shrunk.

    Raises:
        DataError: fewer than two can be read.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    probed = [image for i in order[:PROBED].tolist() if (image := _attempt(images, i)) is not None]
    canvas = _canvas(probed, size)
    most = min(MAX_IMAGES, max(2, MAX_BYTES // (canvas.channels * canvas.size**2)))
    rows: list[torch.Tensor] = []
    chosen = np.sort(order[:most]).tolist()
    for done, i in enumerate(chosen, 1):
        if (row := _attempt(images, i, canvas)) is not None:
            rows.append(row)
        if tick is not None:
            tick(done, len(chosen))
    if len(rows) < 2:
        raise DataError(
            f"training on the data needs at least two images that can be read, got {len(rows)} of {len(images)}: "
            "pass backbone= or repair the files"
        )
    data = torch.stack(rows)
    if canvas.channels == 3 and not canvas.low and bool((data == data[:, :1]).all()):
        return data[:, :1].contiguous(), Canvas(canvas.size, 1)
    return data, canvas


def _canvas(probed: list[ImageLike], size: int | None) -> Canvas:
    """The median longer side, in steps of 4 pixels; the range of arrays from the 1st to the 99th percentile."""
    sides = [max(p.size if isinstance(p, Image.Image) else p.shape[1:]) for p in probed]
    middle = float(np.median(sides)) if sides else SMALLEST
    side = size or int(min(max(4 * round(middle / 4), SMALLEST), LARGEST))
    arrays = [p for p in probed if not isinstance(p, Image.Image)]
    if not arrays:
        return Canvas(side, 3)
    channels = len(arrays[0])
    values = [np.concatenate([a[c].ravel() for a in arrays if len(a) == channels]) for c in range(channels)]
    finite = [v[np.isfinite(v)].astype(np.float64) for v in values]
    low, high = zip(*(np.percentile(v, (1, 99)) if v.size else (0.0, 0.0) for v in finite), strict=True)
    wide = tuple(max(float(h), float(lo) + 1e-6 * max(1.0, abs(lo))) for lo, h in zip(low, high, strict=True))
    return Canvas(side, channels, tuple(map(float, low)), wide)


def _attempt(images: Any, index: int, canvas: Canvas | None = None) -> Any:
    try:
        image: ImageLike = images[index]
        if isinstance(image, Image.Image):
            image.load()  # a truncated file raises here and not while it is opened
        return image if canvas is None else canvas(image)
    except Exception:  # whatever a user's data set raises: the audit itself reports the item as unreadable
        return None
