"""What the training tells of its labels: label scores of the embedding, of the margins, and of both.

    python benchmarks/dynamics.py --quick
    python benchmarks/dynamics.py --output benchmarks/results/dynamics.csv

Of Fashion-MNIST 10% of the labels are wrong: drawn from all other classes ("uniform"), or that of the most similar
image of another class ("confusable"). A small network is trained for three epochs by a Trainer with
`DataAudit`, which records the margins on the way.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _fashion import FOLDER, Classifier, fashion_mnist, small_net, tensors, trainer
from engine import machine
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader

from selfclean_hooks import audit_embeddings
from selfclean_hooks.audits.pipeline import with_margins
from selfclean_hooks_lightning import DataAudit

WRONG = 0.1
COLUMNS = ["seed", "errors", "epochs", "scores", "ap", "precision", "recall", "f1", "machine"]
Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]
Row = dict[str, Any]


class Snapshots(DataAudit):
    """A `DataAudit` that keeps the mean margins after each epoch."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.margins: list[NDArray[np.float64]] = []

    def on_train_epoch_end(self, run: Any, module: Any) -> None:
        super().on_train_epoch_end(run, module)
        held = self.state_dict()["margins"][""]
        self.margins.append((held["total"] / held["count"]).double().numpy())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Label errors found by the embedding, by the margins, and by both.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pixels", action="store_true", help="embed by the pixels in place of EfficientNet-Lite0")
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the four IDX files")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="one seed, few samples, pixels: does it run?")
    options = parser.parse_args(argv)
    if options.quick:
        options.seeds, options.samples, options.pixels = 1, 600, True
    images, labels = fashion_mnist("train", options.data)
    images, labels = images[: options.samples], labels[: options.samples]
    flat = images.reshape(len(images), -1).astype(np.float32)
    vectors = flat if options.pixels else embedded(images)
    rows: list[Row] = []
    for kind, seed in ((kind, seed) for kind in ("uniform", "confusable") for seed in range(options.seeds)):
        given, wrong = mislabelled(flat, labels, kind, seed)
        found = compared(images, given, wrong, vectors, seed, options.epochs)
        rows += [{"seed": seed, "errors": kind, **row, "machine": machine()} for row in found]
    report(rows)
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def embedded(images: Images) -> NDArray[np.floating]:
    """(N, 1280) features of EfficientNet-Lite0."""
    from representations import efficientnet

    return efficientnet(images)()[""]


def mislabelled(flat: NDArray[np.float32], labels: Labels, kind: str, seed: int) -> tuple[Labels, Mask]:
    """The labels with some that are wrong, and which are."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(labels), round(WRONG * len(labels)), replace=False)
    given = labels.copy()
    if kind == "uniform":
        given[chosen] = (labels[chosen] + rng.integers(1, 10, len(chosen))) % 10
    else:
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        likeness = unit[chosen] @ unit.T
        likeness[labels[chosen][:, None] == labels] = -1
        given[chosen] = labels[likeness.argmax(1)]
    return given, given != labels


def compared(
    images: Images, given: Labels, wrong: Mask, vectors: NDArray[np.floating], seed: int, epochs: int
) -> list[Row]:
    """One row for the embedding alone, and two for every epoch: the margins alone, and both."""
    plain = audit_embeddings(vectors, given)
    rows = [{"epochs": 0, "scores": "embedding", **measured(plain.scores.label, plain.frame["is_label_issue"], wrong)}]
    for epoch, margins in enumerate(margins_of(images, given, seed, epochs), start=1):
        both = with_margins(plain, margins, epoch)
        rows.append({"epochs": epoch, "scores": "margins", **measured(margins, None, wrong)})
        found = measured(both.scores.label, both.frame["is_label_issue"], wrong)
        rows.append({"epochs": epoch, "scores": "both", **found})
    return rows


def margins_of(images: Images, given: Labels, seed: int, epochs: int) -> list[NDArray[np.float64]]:
    """(N,) mean margins after each epoch of training, which an audit due after the last would use."""
    torch.manual_seed(seed)
    hook = Snapshots(audit_epochs=(0, epochs + 1), backbone=torch.nn.Flatten(), output_dir=None, check_leakage=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(hook, max_epochs=epochs).fit(
            Classifier(small_net()), DataLoader(tensors(images, given), 64, shuffle=True)
        )
    return hook.margins


def measured(score: NDArray[np.floating], flags: Any, wrong: Mask) -> Row:
    """Average precision of the ranking; precision, recall and F1 of what is flagged by itself."""
    ranked = {"ap": float(average_precision_score(wrong, -score))}
    if flags is None:
        return ranked
    hits, flagged = int((wrong & np.asarray(flags)).sum()), int(np.asarray(flags).sum())
    f1 = 2 * hits / (int(wrong.sum()) + flagged)
    return {**ranked, "precision": hits / max(1, flagged), "recall": hits / int(wrong.sum()), "f1": f1}


def report(rows: Sequence[Row]) -> None:
    """Means over the seeds."""
    for errors, epochs, scores in dict.fromkeys((row["errors"], row["epochs"], row["scores"]) for row in rows):
        of = [row for row in rows if (row["errors"], row["epochs"], row["scores"]) == (errors, epochs, scores)]
        ap = np.array([row["ap"] for row in of])
        spread = f" +- {ap.std(ddof=1):.3f}" if len(of) > 1 else ""
        flags = "".join(f"   {key} {np.mean([row[key] for row in of]):.3f}" for key in COLUMNS[5:8] if key in of[0])
        print(f"{errors:12}{scores:10} after {epochs} epochs   AP {ap.mean():.3f}{spread}{flags}")


if __name__ == "__main__":
    main()
