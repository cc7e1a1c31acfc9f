"""Detection data: each box is a sample with its class; wrong classes and empty boxes are found and written back.

The same by commands: `selfclean-hooks audit data.yaml:objects && selfclean-hooks apply audit/ --to fixed/`.
"""

import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from torch import Tensor

from selfclean_hooks import Policy, audit
from selfclean_hooks.sources import open_source
from selfclean_hooks.testing import digits

SIDE, PER_IMAGE = 64, 8  # of images, and digits in each
rng = np.random.default_rng(0)
images, labels = digits()
images, labels = images[:480], labels[:480].copy()
wrong, empty = rng.permutation(480)[:40].reshape(2, 20)
labels[wrong] = (labels[wrong] + rng.integers(1, 10, 20)) % 10


def write(root: Path) -> Path:
    """Images of eight digits each in the format of YOLO: some boxes have another class, some hold nothing."""
    for folder in ("images", "labels"):
        (root / folder / "train").mkdir(parents=True)
    for at in range(0, len(images), PER_IMAGE):
        canvas, lines = rng.integers(0, 40, (SIDE, SIDE), np.uint8), []
        for place in range(PER_IMAGE):
            x, y = 16 * (place % 4) + 4, 32 * (place // 4) + 12
            if at + place not in empty:
                canvas[y : y + 8, x : x + 8] = images[at + place]
            lines.append(f"{labels[at + place]} {(x + 4) / SIDE} {(y + 4) / SIDE} {8 / SIDE} {8 / SIDE}\n")
        Image.fromarray(canvas).save(root / "images" / "train" / f"{at:03d}.png")
        (root / "labels" / "train" / f"{at:03d}.txt").write_text("".join(lines), encoding="utf-8")
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "names": [*map(str, range(10))]}))
    return root / "data.yaml"


def pixels(batch: Tensor) -> Tensor:
    """The features: all boxes are 8 x 8 here. Leave the backbone out for boxes of any other kind."""
    return batch.flatten(1)


with tempfile.TemporaryDirectory() as folder:
    source = open_source(f"{write(Path(folder) / 'data')}:objects")
    policy = Policy(off_topic="drop", label_errors="relabel")
    found = audit(source.dataset, pixels, labels=source.labels, policy=policy, progress=False)
    found = found.described(source.name, source.class_names, source.notes, {})
    print(found.summary.to_string())
    print("the worst labels:", ", ".join(Path(found.names[i]).name for i in found.worst("label_errors")[:5]))  # type: ignore[index]
    print(found.apply(Path(folder) / "fixed").describe())
    fixed = open_source(f"{Path(folder) / 'fixed' / 'data.yaml'}:objects")
    print(f"{len(source.dataset)} boxes before, {len(fixed.dataset)} after")  # type: ignore[arg-type]

caught = set(found.worst("label_errors").tolist()) & set(wrong.tolist())
nothing = set(found.worst("off_topic").tolist()) & set(empty.tolist())
print(f"{len(caught)} of 20 wrong classes and {len(nothing)} of 20 empty boxes are flagged")
assert min(len(caught), len(nothing)) >= 15, "most wrong classes and empty boxes are found"
