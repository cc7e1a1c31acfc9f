"""Which representation of photographs and CIFAR-10 shows faults that people verified: average precision, CPU seconds.

    python benchmarks/quality/real_representations.py --data DIR --cache DIR --output representations_real.csv

--data holds cifar10n_5k.npz (images, clean_label and the labels of people, CIFAR-10N), cifar10_test_pairs.npz (images,
listed and by_eye: pairs, 1 or 2 for near duplicates) and dogs_cats_half.npz (jpeg, offsets, labels, off, ambiguous).
--cache keeps embeddings, which take minutes. The networks are EfficientNet-Lite0 and Lite2 from their wheels.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import _paths  # noqa: F401
import numpy as np
import torch
from draws import Draw
from judging import Found, judged
from numpy.typing import NDArray
from PIL import Image
from representations import efficientnet, run
from tools import TOOLS, Case

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.representation import edges, thumbnail
from selfclean_hooks.embedding.pretrain.run import pretrain

CIFAR, OTHERS = 2000, 1000  # images judged for labels; images among which pairs are searched, beside those of pairs
SIDE = 112  # pixels a side, for the pretrained networks
Vectors = NDArray[np.float32]
Blocks = dict[str, Vectors]
SUMS: dict[str, dict[str, float]] = {  # weights of unit-length parts: cosine distances are averaged
    "pixels, edges (untrained)": {"thumbnail": 1, "edges": 1},
    "self-supervised": {"self-supervised": 1},
    "EfficientNet-Lite0": {"lite0": 1},
    "EfficientNet-Lite2": {"lite2": 1},
    "Lite0 + Lite2": {"lite0": 1, "lite2": 1},
    "Lite0 + untrained": {"lite0": 1, "thumbnail": 0.25, "edges": 0.25},
    "Lite0 + 1/2 self-supervised": {"lite0": 1, "self-supervised": 0.5},
    "Lite0 + self-supervised": {"lite0": 1, "self-supervised": 1},
    "Lite2 + 1/2 self-supervised": {"lite2": 1, "self-supervised": 0.5},
}


class Faults(NamedTuple):
    """A data set with one kind of known faults."""

    name: str
    images: list[Image.Image]
    issue: str
    truth: Sequence[tuple[str, Draw]]  # a name for each set of labels, and what is known
    counted: NDArray[np.bool_]  # (N,) which samples are judged


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Representations and real faults.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for embeddings")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = [row for read in (photographs, labels, copies) for row in compared(read(options.data), options.cache)]
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def photographs(folder: Path) -> Faults:
    """Cats and dogs; off-topic are those that show neither."""
    with np.load(folder / "dogs_cats_half.npz") as held:
        d = dict(held)
    content, at = d["jpeg"].tobytes(), d["offsets"].tolist()
    images = [Image.open(io.BytesIO(content[i:j])).convert("RGB") for i, j in pairwise(at)]
    n, given = len(images), d["labels"].astype(np.int64)
    truth = Draw(np.arange(n), given, given, d["off"], np.zeros(n, bool), np.empty((0, 2), np.int64))
    return Faults("photographs", images, "off_topic", [("", truth)], ~d["ambiguous"])


def labels(folder: Path) -> Faults:
    """CIFAR-10N: labels that people gave, wrong where they differ from those published."""
    with np.load(folder / "cifar10n_5k.npz") as held:
        d = {name: held[name][:CIFAR] for name in held.files}
    n, true = len(d["images"]), d["clean_label"].astype(np.int64)
    no, none = np.zeros(n, bool), np.empty((0, 2), np.int64)
    kinds = {"aggregated": "aggre_label", "random": "random_label1", "worst": "worse_label"}
    given = {kind: d[name].astype(np.int64) for kind, name in kinds.items()}
    truth = [(kind, Draw(np.arange(n), each, true, no, each != true, none)) for kind, each in given.items()]
    return Faults("cifar10n", [Image.fromarray(x) for x in d["images"]], "label_errors", truth, ~no)


def copies(folder: Path) -> Faults:
    """Test images of CIFAR-10 with the near duplicates that people saw, and as many others as it takes."""
    with np.load(folder / "cifar10_test_pairs.npz") as held:
        d = dict(held)
    judged_pairs = np.concatenate([d["listed"], d["by_eye"]])
    real = np.unique(np.sort(np.concatenate([d["listed"][:, :2], d["by_eye"][d["by_eye"][:, 2] < 9, :2]]), 1), axis=0)
    others = np.random.default_rng(0).choice(len(d["images"]), OTHERS, replace=False)
    rows = np.union1d(judged_pairs[:, :2], others)
    n, pairs = len(rows), np.searchsorted(rows, real).astype(np.int64)
    one, no = np.zeros(n, np.int64), np.zeros(n, bool)
    images = [Image.fromarray(x) for x in d["images"][rows]]
    return Faults("cifar10 pairs", images, "near_duplicates", [("", Draw(rows, one, one, no, no, pairs))], ~no)


def compared(faults: Faults, cache: Path) -> list[dict[str, Any]]:
    blocks, seconds = embedded(faults.images, cache / f"{faults.name}.npz")
    rows = []
    for name, weights in SUMS.items():
        x = np.concatenate([np.sqrt(w) * unit(blocks[part]) for part, w in weights.items()], 1).astype(np.float32)
        for kind, truth in faults.truth:
            labels = truth.labels if faults.issue == "label_errors" else None
            found = TOOLS["default"](Case(x, labels, np.empty(0, np.uint8)))[faults.issue]  # type: ignore[arg-type]
            ap = judged(*_counted(found, truth, faults))["ap"]
            row = {"data": faults.name, "samples": len(x), "issue": faults.issue, "labels": kind}
            row |= {"representation": name, "ap": f"{ap:.3f}", "cpu_s": f"{sum(seconds[p] for p in weights):.0f}"}
            rows.append(row)
            print(*row.values(), sep="  ", flush=True)
    return rows


def _counted(found: Found, truth: Draw, faults: Faults) -> tuple[Found, str, Draw]:
    """Without the samples that are not judged; pairs are all judged."""
    if faults.counted.all() or found.score is None:
        return found, faults.issue, truth
    counted = faults.counted
    off, wrong = truth.is_off_topic[counted], truth.is_label_error[counted]
    kept = truth._replace(rows=truth.rows[counted], is_off_topic=off, is_label_error=wrong)
    return Found(found.score[counted]), faults.issue, kept


def embedded(images: list[Image.Image], file: Path) -> tuple[Blocks, dict[str, float]]:
    """The parts of all representations, and the CPU seconds of each."""
    makers: Mapping[str, Callable[[], Vectors]] = {
        "thumbnail": lambda: run(lambda x: thumbnail(x, 16), _fed(images)),
        "edges": lambda: run(edges, _fed(images)),
        "self-supervised": lambda: self_supervised(images),
        "lite0": lambda: efficientnet(_enlarged(images))()[""],
        "lite2": lambda: efficientnet(_enlarged(images), 2)()[""],
    }
    held: dict[str, NDArray[Any]] = {}
    if file.is_file():
        with np.load(file) as kept:
            held = dict(kept)
    for name, make in makers.items():
        if name not in held:
            start = time.process_time()
            held[name] = make()
            held[f"{name} s"] = np.array(time.process_time() - start)
            np.savez(file, **held)  # type: ignore[arg-type]
    return {name: held[name] for name in makers}, {name: float(held[f"{name} s"]) for name in makers}


def self_supervised(images: list[Image.Image]) -> Vectors:
    """The project's own training on all images, faults included, as it is used."""
    trained = pretrain(images, Recipe())
    return run(trained.encoder, torch.stack([trained.canvas(image) for image in images]).float() / 255)


def _fed(images: list[Image.Image]) -> torch.Tensor:
    side = 64 if max(images[0].size) >= 64 else 32
    small = [np.asarray(image.resize((side, side), Image.Resampling.BOX)) for image in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def _enlarged(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images])


def unit(x: Vectors) -> Vectors:
    x = x.astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9))


if __name__ == "__main__":
    main()
