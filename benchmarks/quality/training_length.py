"""How long the self-supervised encoder is trained: average precision by images seen, batch and learning rate.

    python benchmarks/quality/training_length.py --pools pools --output benchmarks/results/training_length.csv

A draw of each pool, 1,000 clean samples and 10% of each issue, on which encoders are trained as an audit trains them,
off-topic samples and all; the default detectors see the vectors alone. "mnist, drawings" has grey clip art as off-topic
samples, "mnist, white drawings" its negative. EfficientNet-Lite0 as in ../representations.py.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _paths  # noqa: F401
import numpy as np
import torch
from draws import Draw, draw, load
from judging import ISSUES, judged
from numpy.typing import NDArray
from PIL import Image
from representations import efficientnet, run
from tools import TOOLS, Case

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import pretrain

SAMPLES, LEVEL = 1000, 0.1
Vectors = NDArray[np.float32]


class Length(NamedTuple):
    """Of a training."""

    images: int  # seen in all
    batch: int
    rate: float


TRIED = (
    Length(0, 128, 0.0),
    Length(16_000, 256, 2e-3),
    Length(16_000, 128, 2.8e-3),
    Length(48_000, 256, 2e-3),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How long to train.")
    parser.add_argument("--pools", type=Path, required=True, help="folder of NAME.npz")
    parser.add_argument("--only", nargs="+", help="pools")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = [
        row
        for name, pool, off_topic in data_sets(options.pools)
        if options.only is None or name in options.only
        for row in compared(name, pool, draw(pool, LEVEL, f"{off_topic},mixed,uniform", 0, clean_in(pool)))
    ]
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def data_sets(folder: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, pool, kind of its off-topic samples."""
    for file in sorted(folder.glob("*.npz")):
        yield file.stem, load(file), "both"
    if not all((folder / f"{name}.npz").is_file() for name in ("mnist", "clipart")):
        return
    art, digits = load(folder / "clipart.npz"), load(folder / "mnist.npz")
    strange = (digits["role"] == 1).nonzero()[0]
    drawings = [Image.fromarray(image).convert("L") for image in art["images"][art["role"] == 0][: len(strange)]]
    small = np.stack([np.asarray(drawing.resize((28, 28), Image.Resampling.BOX)) for drawing in drawings])
    for name, shown in (("mnist, drawings", small), ("mnist, white drawings", 255 - small)):
        images, vectors = digits["images"].copy(), digits["efficientnet"].copy()
        images[strange], vectors[strange] = shown, efficientnet(shown)()[""]
        yield name, {**digits, "images": images, "efficientnet": vectors}, "scattered"


def clean_in(pool: dict[str, Any]) -> int:
    return min(SAMPLES, int((pool["role"] == 0).sum()))


def compared(name: str, pool: dict[str, Any], truth: Draw) -> Iterator[dict[str, Any]]:
    images = [Image.fromarray(image) for image in pool["images"][truth.rows]]
    yield row_of(name, "EfficientNet-Lite0", Length(0, 0, 0.0), 0.0, pool["efficientnet"][truth.rows], truth)
    for length in TRIED:
        begin = time.process_time()
        vectors = features(images, length)
        yield row_of(name, "self-supervised", length, time.process_time() - begin, vectors, truth)


def row_of(name: str, encoder: str, length: Length, cpu: float, vectors: Vectors, truth: Draw) -> dict[str, Any]:
    says = TOOLS["default"](Case(vectors, truth.labels, np.empty(0, np.uint8)))
    found = [float(judged(says[issue], issue, truth)["ap"]) for issue in ISSUES]
    row: dict[str, Any] = {"data": name, "samples": len(truth.rows), "representation": encoder, **length._asdict()}
    row |= {issue: f"{ap:.3f}" for issue, ap in zip((*ISSUES, "mean"), (*found, np.mean(found)), strict=True)}
    print(*row.values(), f"{cpu:.1f} s", sep="  ", flush=True)
    return row | {"cpu_s": round(cpu, 1)}


def features(images: list[Image.Image], length: Length) -> Vectors:
    """As an audit has them of an encoder trained on the images."""
    epochs, rate = max(1, round(length.images / len(images))), length.rate or 1e-12  # at which nothing is learned
    trained = pretrain(images, Recipe(epochs=epochs, batch_size=length.batch, learning_rate=rate))
    fed = torch.stack([trained.canvas(image) for image in images]).float() / 255
    return np.asarray(run(trained.encoder, fed))


if __name__ == "__main__":
    main()
