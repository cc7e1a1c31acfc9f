"""Writes a folder of handwritten digits as class folders, clean or with planted issues; or adds one more copy."""

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from selfclean_hooks.testing import contaminate, digits, off_topic_patches


def write(folder: Path, contaminated: bool) -> None:
    images, labels = digits()
    images, labels = images[:600], labels[:600]
    if contaminated:
        shares = {"near_duplicates": 0.03, "off_topic": 0.02, "label_errors": 0.0}
        planted = contaminate(images, labels, off_topic_patches(50, 8), **shares, seed=0)
        images, labels = planted.images, planted.labels
        copies = np.arange(0, 100, 10)  # and some exact copies
        images, labels = np.concatenate([images, images[copies]]), np.concatenate([labels, labels[copies]])
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def copy_one(folder: Path) -> None:
    """Somebody adds a image that is there already, under a name of its own."""
    original = next(folder.rglob("0300.png"))
    shutil.copy(original, original.with_name("new.png"))


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    copy_one(folder) if what == "copy" else write(folder, what == "contaminated")
