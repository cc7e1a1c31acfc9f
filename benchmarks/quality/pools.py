"""Pools: everything a contaminated data set is drawn from, embedded once.

python benchmarks/quality/pools.py --output DIR [--only fashion digits clipart ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _paths  # noqa: F401
import numpy as np
import torch
from copies import CHAIN, chain, one_operation
from numpy.typing import NDArray
from PIL import Image
from representations import efficientnet, run
from sets import DEVELOPMENT, Material

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import pretrain

ONE, CHAINS = 600, 100  # sources
Arrays = dict[str, NDArray[Any]]


def main(argv: Sequence[str] | None = None) -> None:
    from held_out import HELD_OUT

    makers = DEVELOPMENT | HELD_OUT
    parser = argparse.ArgumentParser(description="Build the pools.")
    parser.add_argument("--output", type=Path, required=True, help="folder of NAME.npz")
    parser.add_argument("--only", nargs="+", choices=list(makers), default=list(makers))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        file = options.output / f"{name}.npz"
        if file.is_file():
            continue
        try:
            made = makers[name]()
        except (OSError, ImportError, ValueError) as error:
            print(f"{name}: left out, {type(error).__name__}: {error}", file=sys.stderr)
            continue
        np.savez(file, **pool_of(made))  # type: ignore[arg-type]
        print(f"{file}: {len(made.clean)} clean, {len(np.unique(made.labels))} classes", flush=True)


def pool_of(made: Material) -> Arrays:
    """One row a sample: images, labels (-1: off-topic), role, source (row copied), step (of a chain), embeddings."""
    rows = samples_of(made)
    images = rows["images"]
    rows["efficientnet"] = efficientnet(images)()[""]
    rows["ssl"] = self_supervised(images, len(made.clean))
    return rows | confusion(rows["efficientnet"][: len(made.clean)], made.labels)


def samples_of(made: Material) -> Arrays:
    rng, n = np.random.default_rng(0), len(made.clean)
    sources = rng.permutation(n)
    once, often = sources[:ONE], sources[:CHAINS] if n < 2 * ONE else sources[ONE : ONE + CHAINS]
    copied = [one_operation(made.clean[i], rng) for i in once]
    chained = [step for i in often for step in chain(made.clean[i], rng)]
    parts = [made.clean, made.scattered, made.clustered, np.stack(copied), np.stack(chained)]
    role = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    source = np.full(len(role), -1)
    source[role == 3], source[role == 4] = once, np.repeat(often, CHAIN)
    step = np.zeros(len(role), int)
    step[role == 3], step[role == 4] = 1, np.tile(np.arange(1, CHAIN + 1), len(often))
    labels = np.full(len(role), -1)
    labels[:n] = np.unique(made.labels, return_inverse=True)[1]
    labels[source >= 0] = labels[source[source >= 0]]
    return {"images": np.concatenate(parts), "labels": labels, "role": role, "source": source, "step": step}


def self_supervised(images: NDArray[np.uint8], n_clean: int) -> NDArray[np.float32]:
    """The project's own training on the clean samples, as it is used."""
    samples = [Image.fromarray(image) for image in images]
    trained = pretrain(samples[:n_clean], Recipe())
    fed = torch.stack([trained.canvas(sample) for sample in samples]).float() / 255
    return np.asarray(run(trained.encoder, fed))


def confusion(vectors: NDArray[np.float32], labels: NDArray[np.int64], k: int = 10) -> Arrays:
    """What a sample (mistaken) and a class (confused) are most easily taken for, by the k nearest of other classes."""
    codes = np.unique(labels, return_inverse=True)[1]
    x = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = x @ x.T
    likeness[codes[:, None] == codes] = -2
    nearest = np.argsort(-likeness, axis=1)[:, :k]
    votes = np.stack([(codes[nearest] == c).sum(1) for c in range(codes.max() + 1)], 1)
    margin = np.take_along_axis(likeness, nearest[:, :1], 1)[:, 0]
    doubtful = margin >= np.quantile(margin, 0.75)  # a class is confused where it meets others
    total = np.stack([votes[doubtful & (codes == c)].sum(0) for c in range(codes.max() + 1)])
    return {"mistaken": votes.argmax(1), "confused": total.argmax(1)}


if __name__ == "__main__":
    main()
