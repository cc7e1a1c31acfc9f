"""Is a classifier better for it? Accuracy on clean images trained on contaminated ones, with the hook and without.

    python benchmarks/cleaned_training.py --quick
    python benchmarks/cleaned_training.py --seeds 5 --output benchmarks/results/cleaned_training.csv
    python benchmarks/cleaned_training.py --real DIR --seeds 5 --output benchmarks/results/real_noise_training.csv

Of the training data, 20% carry a wrong label and 10% are slightly changed copies of validation images. With `--real`:
5,000 CIFAR-10 images with labels of people at three levels of noise, every arm for the same number of steps; DIR as for
`quality/real_sets.py`, with cifar10_test_labels.npy.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _fashion import FOLDER, Classifier, fashion_mnist, small_net, tensors, trainer
from _real_noise import BATCH, STEPS, FlippedImages, RealNoise, SmallNet, real_noise
from engine import machine
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from selfclean_hooks import FDR, Audit, AuditedDataset, Policy, Thresholds, audit, audit_embeddings
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.testing import contaminate
from selfclean_hooks_lightning import DataAudit

POLICY = Policy(near_duplicates="drop", label_errors="drop", leakage="drop")
ARMS: dict[str, dict[str, Any] | None] = {
    "without": None,
    "DataAudit": {},
    "DataAudit, label_errors=FDR(0.5)": {"thresholds": Thresholds(label_errors=FDR(0.5))},
}
ENCODERS = ("EfficientNet-Lite0", "self-supervised")
REAL_COLUMNS = ["level", "seed", "encoder", "policy", "trained_on", "wrong_labels", "test_accuracy", "machine"]
COLUMNS = ["seed", "arm", "trained_on", "wrong_labels", "leaks", "val_accuracy", "test_accuracy", "machine"]
Row = dict[str, Any]
Images, Labels = NDArray[np.uint8], NDArray[np.int64]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Test accuracy after training on contaminated data, as is and cleaned."
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=5000, help="training samples, a fifth as many for validation")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the four IDX files")
    parser.add_argument("--real", type=Path, help="folder of CIFAR-10N, in place of Fashion-MNIST")
    parser.add_argument("--encoder", type=Path, help="folder that keeps the encoder, which is used again")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="one seed, few samples: does it run?")
    options = parser.parse_args(argv)
    if options.quick:
        options.seeds, options.samples, options.epochs = 1, 1000, 2
    if options.real:
        rows, columns = [*compared_on_real_noise(options)], REAL_COLUMNS
    else:
        rows, columns = [row for seed in range(options.seeds) for row in compared(seed, options)], COLUMNS
        report(rows)
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, columns, lineterminator="\n")
            table.writeheader()
            table.writerows(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} | {"machine": machine()}
                for row in rows
            )


def compared_on_real_noise(options: argparse.Namespace) -> Iterator[Row]:
    """One row a seed, level of noise, encoder and policy, the training without an audit first."""
    data = real_noise(options.real)
    audits = audits_of_real_noise(data, options.encoder or Path(tempfile.mkdtemp()))
    for seed in range(options.seeds):
        for level, labels in data.labels.items():
            plain = FlippedImages(data.images, labels)
            without = fitted_on_real_noise(seed, plain, data.test, options.quick)
            arms: dict[tuple[str, str], Audit | None] = {("", "as it is"): None}
            arms |= {
                (name, done): audits[level, name].at(policy=Policy(label_errors=done))
                for name in ENCODERS
                for done in ("drop", "relabel")
            }
            for (name, done), found in arms.items():
                kept = np.arange(len(labels)) if found is None else found.clean_indices
                given = labels if found is None else found.corrected_labels.astype(np.int64)
                same = len(kept) == len(labels) and (given == labels).all()  # the same weights, as tests show
                served = plain if found is None else AuditedDataset(plain, audit=found)
                accuracy = without if same else fitted_on_real_noise(seed, served, data.test, options.quick)
                wrong = int((given[kept] != data.labels["true labels"][kept]).sum())
                row = {"level": level, "seed": seed, "encoder": name, "policy": done}
                row |= {"trained_on": len(kept), "wrong_labels": wrong, "test_accuracy": accuracy}
                print(row, flush=True)
                yield row


def audits_of_real_noise(data: RealNoise, folder: Path) -> dict[tuple[str, str], Audit]:
    """By level of noise and encoder; the encoder of our own is trained once, and kept in the folder."""
    images = FlippedImages(data.images, data.labels["worst"])
    found = audit(images, "self-supervised", kept_encoder=folder / "encoder.safetensors")
    found.save(folder)
    own = embed(images, folder / "encoder.safetensors").vectors
    return {
        (level, name): audit_embeddings(vectors, labels=labels, images=[*data.images])
        for level, labels in data.labels.items()
        for name, vectors in zip(ENCODERS, (data.features, own), strict=True)
    }


def fitted_on_real_noise(seed: int, served: Any, test: Any, quick: bool) -> float:
    """Accuracy on the test images after a fixed number of steps."""
    torch.manual_seed(seed)
    module, generator = SmallNet(), torch.Generator().manual_seed(seed)
    run = trainer(max_steps=20 if quick else STEPS, max_epochs=-1, precision="bf16-mixed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # the last batch may hold one sample, of which BatchNorm learns nonsense
        run.fit(module, DataLoader(served, BATCH, shuffle=True, drop_last=True, generator=generator))
    return module.accuracy(test)


def compared(seed: int, options: argparse.Namespace) -> list[Row]:
    """One row an arm, on the same data and from the same initial weights."""
    train, validation, wrong, leaks = contaminated(seed, options.samples, options.data)
    rows = []
    for arm, settings in ARMS.items():
        kept, module, val = fitted(seed, options.epochs, train, validation, settings)
        accuracy = module.accuracy(tensors(*fashion_mnist("t10k", options.data)))
        left = {"trained_on": len(kept), "wrong_labels": int(wrong[kept].sum()), "leaks": int(leaks[kept].sum())}
        rows.append({"seed": seed, "arm": arm, **left, "val_accuracy": val, "test_accuracy": accuracy})
        print(rows[-1], flush=True)
    return rows


def contaminated(seed: int, n: int, folder: Path) -> tuple[Any, Any, NDArray[np.bool_], NDArray[np.bool_]]:
    """Training and validation data; which labels of the former are wrong, which samples are copies of the latter."""
    images, labels = fashion_mnist("train", folder)
    chosen = np.random.default_rng(seed).permutation(len(images))
    copies, held_out = n // 10, chosen[: n // 5]
    nothing = np.empty((0, 28, 28), np.uint8)
    doubled = contaminate(
        images[held_out], labels[held_out], nothing, near_duplicates=copies / len(held_out), off_topic=0, label_errors=0
    )
    copied = doubled.duplicate_pairs[:, 1]
    own = chosen[n // 5 : n // 5 + n - copies]
    mixed = np.concatenate([images[own], doubled.images[copied]]), np.concatenate([labels[own], doubled.labels[copied]])
    order = np.random.default_rng(seed).permutation(n)
    flipped = contaminate(
        mixed[0][order], mixed[1][order], nothing, near_duplicates=0, off_topic=0, label_errors=0.2, seed=seed
    )
    # contaminate shuffles: samples are found again by their content
    known = {image.tobytes(): bool(leaks) for image, leaks in zip(mixed[0], np.arange(n) >= len(own), strict=True)}
    leaks = np.array([known[image.tobytes()] for image in flipped.images])
    train, validation = tensors(flipped.images, flipped.labels), tensors(images[held_out], labels[held_out])
    return train, validation, flipped.is_label_error, leaks


def fitted(
    seed: int, epochs: int, train: Any, validation: Any, settings: dict[str, Any] | None
) -> tuple[NDArray[np.int64], Classifier, float]:
    """Positions trained on, the trained module, its accuracy on the validation data."""
    torch.manual_seed(seed)
    module = Classifier(small_net())
    audits = [] if settings is None else [DataAudit(policy=POLICY, output_dir=None, seed=seed, **settings)]
    run = trainer(*audits, max_epochs=epochs)
    loader = DataLoader(train, 64, shuffle=True, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.fit(module, loader, DataLoader(validation, 500))
    kept = audits[0].audit.clean_indices if audits else np.arange(len(train))
    return kept, module, float(run.callback_metrics["val_accuracy"])


def report(rows: Sequence[Row]) -> None:
    """Mean and standard deviation over the seeds, one line an arm."""
    for arm in ARMS:
        of_arm = [row for row in rows if row["arm"] == arm]
        figures = {key: np.array([float(row[key]) for row in of_arm]) for key in COLUMNS[2:-1]}
        print(
            f"{arm:34} trained on {figures['trained_on'].mean():6.0f}, of these {figures['wrong_labels'].mean():5.0f} "
            f"wrong labels and {figures['leaks'].mean():4.0f} leaks; accuracy: validation "
            f"{figures['val_accuracy'].mean():.1%}, test {figures['test_accuracy'].mean():.1%} "
            f"+- {figures['test_accuracy'].std(ddof=1) if len(of_arm) > 1 else 0:.1%}"
        )


if __name__ == "__main__":
    main()
