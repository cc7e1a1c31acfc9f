"""Images to make data of, from what Debian, npm and PyPI packages put on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
CLIP_ART = Path("/usr/share/openclipart/png")
MOST_PIXELS = 4_000_000  # larger drawings take seconds to read
STAMPS = Path("/usr/share/tuxpaint/stamps")


def on_white(whole: Image.Image, size: int) -> Images:
    """(size, size, 3): the image on a white square, its proportions kept."""
    whole = whole.convert("RGBA")
    side = max(whole.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
    return np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0))


def read_all(files: Iterable[Path], size: int) -> Images:
    """(N, size, size, 3) of the files that can be read and are not nearly white all over."""
    found: dict[bytes, Images] = {}
    for file in files:
        try:
            with Image.open(file) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    continue
                pixels = on_white(opened, size)
        except (OSError, Image.DecompressionBombError):
            continue
        if pixels.std() >= 10:
            found.setdefault(pixels.tobytes(), pixels)
    return np.stack(list(found.values()))


def by_folder(root: Path, folders: Iterable[str], size: int) -> tuple[Images, Labels]:
    """Every image below each folder; the label is the folder's position."""
    parts = [read_all(sorted((root / folder).rglob("*.png")), size) for folder in folders]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def clip_art(n: int, size: int, seed: int) -> Images:
    """(n, size, size, 3) of signs, shapes and the like: no subject of the data set `clipart`."""
    folders = ("signs_and_symbols", "computer", "education", "office", "geography", "shapes", "electronics")
    files = [file for folder in folders for file in sorted((CLIP_ART / folder).rglob("*.png"))]
    order = np.random.default_rng(seed).permutation(len(files))
    return distinct(read_all((files[i] for i in order[: 2 * n]), size))[0][:n]


def grey(images: Images, size: int) -> Images:
    """(N, size, size), every second one as its negative, so that half have a dark ground."""
    shrunk = [Image.fromarray(image).convert("L").resize((size, size), Image.Resampling.BOX) for image in images]
    made = np.stack([np.asarray(image) for image in shrunk])
    made[1::2] = 255 - made[1::2]
    return made


def coloured(images: Images, size: int) -> Images:
    """(N, H, W) grey as (N, size, size, 3)."""
    grown = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC).convert("RGB") for p in images]
    return np.stack([np.asarray(image) for image in grown])


def photographs() -> list[Image.Image]:
    """Those that ship with scikit-learn and matplotlib."""
    import matplotlib
    from sklearn.datasets import load_sample_images

    hopper = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    return [*(Image.fromarray(image) for image in load_sample_images().images), hopper]


def photo_patches(n: int, size: int, seed: int) -> Images:
    """(n, size, size, 3) squares of photographs, of any side from 40 pixels to half the photograph, turned at will."""
    rng, photos = np.random.default_rng(seed), photographs()
    made: list[Images] = []
    while len(made) < n:
        photo = photos[rng.integers(len(photos))]
        side = int(rng.integers(40, min(photo.size) // 2))
        left, top = (int(rng.integers(0, whole - side)) for whole in photo.size)
        part = photo.crop((left, top, left + side, top + side)).rotate(90 * int(rng.integers(4)))
        patch = np.asarray(part.resize((size, size), Image.Resampling.BOX))
        if patch.std() >= 16:  # no plain sky
            made.append(patch)
    return np.stack(made)


def texture(n: int, size: int, seed: int) -> Images:
    """(n, size, size, 3) of one flower bed, slightly moved, scaled and lit: a tight cluster, no two alike."""
    rng, photo, made = np.random.default_rng(seed), photographs()[1], []
    for _ in range(n):
        side, brightness = int(rng.integers(100, 120)), rng.uniform(0.8, 1.2)
        left, top = (int(rng.integers(80, 180)) for _ in range(2))
        patch = photo.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BOX)
        made.append(np.clip(np.asarray(patch) * brightness + rng.normal(0, 5, (size, size, 3)), 0, 255))
    return np.stack(made).astype(np.uint8)


def distinct(images: Images, least: float = 0.03, alike: float = 0.97) -> tuple[Images, NDArray[np.int64]]:
    """Those that are no near copy of an earlier one, and their positions.

    A near copy differs by less than `least` of the range (root mean square), or, of coloured images, correlates in
    grey above `alike`: drawings come in several colours.
    """
    x = images.reshape(len(images), -1).astype(np.float32) / 255
    small = None if images.ndim == 3 else _standardised(grey_plane(images))
    kept = np.ones(len(x), bool)
    squares = (x**2).sum(1)
    for i in range(1, len(x)):
        earlier = kept[:i].nonzero()[0]
        gap = (squares[earlier] + squares[i] - 2 * x[earlier] @ x[i]) / x.shape[1]
        kept[i] = gap.min() >= least**2
        if kept[i] and small is not None:
            kept[i] = (small[earlier] @ small[i]).max() <= alike
    return images[kept], kept.nonzero()[0]


def grey_plane(images: Images, side: int = 16) -> NDArray[np.float32]:
    """(N, side * side): coloured images, grey and small."""
    n, size = images.shape[:2]
    step = size // side
    plane = images.mean(-1, dtype=np.float32).reshape(n, side, step, side, step)
    return np.asarray(plane.mean((2, 4)).reshape(n, -1))


def _standardised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = x - x.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))
