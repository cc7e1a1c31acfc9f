"""Which weights of the parts of a self-supervised representation: average precision per issue, on draws from pools.

    python benchmarks/quality/blocks.py --pools pools --cache DIR --output blocks.csv

One encoder is trained on the clean samples of each pool, and kept in --cache; weights cost only the detectors.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _paths  # noqa: F401
import numpy as np
import torch
from draws import contaminated, draw, load
from judging import ISSUES, judged
from numpy.typing import NDArray
from PIL import Image
from tools import TOOLS, Case
from torch import Tensor

from selfclean_hooks.embedding.pretrain import run
from selfclean_hooks.embedding.pretrain.representation import WEIGHTS, Representation

SAMPLES = 400  # clean ones of a draw
DRAWS = ((0.05, "both,mixed,uniform", 0), (0.1, "scattered,one,confusable", 1), (0.1, "both,chain,mistaken", 2))
TRIED: dict[str, dict[str, float]] = {
    **{f"version {version}": weights for version, weights in WEIGHTS.items()},
    "without learned": {"thumbnail": 1, "edges": 1},
    "learned 1": {"thumbnail": 1, "edges": 1, "learned": 1},
    "texture 1": {"thumbnail": 1, "edges": 1, "learned": 0.25, "texture": 1},
    "texture 2": {"thumbnail": 1, "edges": 1, "learned": 0.25, "texture": 2},
    "texture 4": {"thumbnail": 1, "edges": 1, "learned": 0.25, "texture": 4},
    "texture 4, learned 1/2": {"thumbnail": 1, "edges": 1, "learned": 0.5, "texture": 4},
    "texture 2, thumbnail 1/2": {"thumbnail": 0.5, "edges": 1, "learned": 0.25, "texture": 2},
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Weights of the parts.")
    parser.add_argument("--pools", type=Path, required=True, help="folder of NAME.npz")
    parser.add_argument("--cache", type=Path, required=True, help="folder for encoders")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = [row for pool in sorted(options.pools.glob("*.npz")) for row in compared(pool, options.cache)]
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def compared(file: Path, cache: Path) -> list[dict[str, Any]]:
    pool = load(file)
    images = [Image.fromarray(image) for image in pool["images"]]
    is_clean = pool["role"] == 0
    parts = parts_of(images, is_clean, cache / f"{file.stem}.safetensors")
    tried = {name: joined(parts, weights) for name, weights in TRIED.items()}
    rows = []
    for name, vectors in {"EfficientNet-Lite0": pool["efficientnet"], **tried}.items():
        row: dict[str, Any] = {"data": file.stem, "representation": name}
        found = precision({**pool, "tried": vectors}, min(SAMPLES, int(is_clean.sum())))
        row |= {issue: f"{ap:.3f}" for issue, ap in zip((*ISSUES, "mean"), (*found, found.mean()), strict=True)}
        rows.append(row)
        print(*row.values(), sep="  ", flush=True)
    return rows


def precision(pool: dict[str, NDArray[Any]], n: int) -> NDArray[np.floating]:
    """(3,) average precision of each of ISSUES, mean over the draws."""
    found = []
    for level, kinds, seed in DRAWS:
        truth, drawn = draw(pool, level, kinds, seed, n), contaminated(pool, "tried", level, kinds, seed, n)
        says = TOOLS["default"](Case(drawn.vectors, drawn.labels, np.empty(0, np.uint8)))
        found.append([judged(says[issue], issue, truth)["ap"] for issue in ISSUES])
    mean: NDArray[np.floating] = np.mean(np.array(found, float), axis=0)
    return mean


def parts_of(images: list[Image.Image], is_clean: NDArray[np.bool_], file: Path) -> dict[str, NDArray[np.float32]]:
    """Each part of each image, of length 1."""
    if not file.is_file():
        run.save(run.pretrain([image for image, clean in zip(images, is_clean, strict=True) if clean]), file)
    trained = run.load(file)
    made: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for start in range(0, len(images), 128):
            fed = torch.stack([trained.canvas(image) for image in images[start : start + 128]]).float() / 255
            for name, part in _parts(trained.encoder, fed).items():
                made.setdefault(name, []).append(part)
    return {name: torch.cat(each).numpy() for name, each in made.items()}


def _parts(encoder: Representation, x: Tensor) -> dict[str, Tensor]:
    return {name: torch.nn.functional.normalize(part) for name, part in encoder.parts(x).items()}


def joined(parts: dict[str, NDArray[np.float32]], weights: dict[str, float]) -> NDArray[np.float32]:
    return np.concatenate([np.float32(weight**0.5) * parts[name] for name, weight in weights.items()], 1)


if __name__ == "__main__":
    main()
