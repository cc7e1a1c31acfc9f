"""`selfclean-hooks demo`: known issues in real images, found before a Lightning fit."""

from __future__ import annotations

import logging
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.audit_dataset import audit
from selfclean_hooks.cli.output import MAX_LENGTH, show
from selfclean_hooks.decisions.settings import Policy
from selfclean_hooks.sources.array import ArrayDataset
from selfclean_hooks.storage.commit import check_output
from selfclean_hooks.testing import Contaminated, contaminate, digits, off_topic_patches
from selfclean_hooks.utils.text import visible

HELD_OUT = 600  # clean images that measure accuracy
PLANTED = {"near_duplicates": 0.05, "off_topic": 0.05, "label_errors": 0.15}
EPOCHS = 40


def run(output: Path, console: Console, seed: int = 0) -> Audit:
    """Plant issues in scikit-learn's digits, audit and save into `output`, and train with and without cleaning."""
    check_output(output)
    images, labels = digits()
    order = np.random.default_rng(seed).permutation(len(images))
    test, clean = order[:HELD_OUT], order[HELD_OUT:]
    planted = contaminate(images[clean], labels[clean], off_topic_patches(200, 8, seed), seed=seed, **PLANTED)
    console.print(
        f"{len(planted.labels)} handwritten digits (scikit-learn), contaminated on purpose: "
        f"{planted.is_label_error.sum()} wrong labels, {planted.is_off_topic.sum()} patches of photographs, "
        f"{len(planted.duplicate_pairs)} near duplicates."
    )
    dataset = ArrayDataset(planted.images, planted.labels)
    policy = Policy("drop", "drop", "drop", "drop")
    found = audit(dataset, "self-supervised", policy=policy, seed=seed)
    console.print(_found_against_planted(found, planted))
    before, after = (
        _accuracy(planted.images[kept], planted.labels[kept], images[test], labels[test], seed)
        for kept in (np.arange(len(found)), found.clean_indices)
    )
    table = Table("Lightning fit on", "samples", f"accuracy on {HELD_OUT} clean digits", title_justify="left")
    table.add_row("everything", str(len(found)), f"{before:.1%}")
    table.add_row("clean_indices", str(len(found.clean_indices)), f"{after:.1%}")
    console.print(table)
    found = found.described("scikit-learn digits, contaminated on purpose")
    found.save(output)
    console.print(
        visible(f"Written into {output}: {', '.join(sorted(path.name for path in output.iterdir()))}", MAX_LENGTH),
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    show(f"next: selfclean-hooks report {shlex.quote(str(output))} --open")
    return found


def _found_against_planted(found: Audit, planted: Contaminated) -> Table:
    """One row per issue: planted, flagged, correctly flagged, and correct among as many worst as were planted."""
    table = Table("issue", "planted", "flagged", "correctly flagged", "planted among the worst", title_justify="left")
    pairs = {tuple(pair) for pair in planted.duplicate_pairs.tolist()}
    is_pair = np.array([tuple(pair) in pairs for pair in found.scores.pair_index.tolist()])
    flags = found.decisions.flags
    flagged_pairs = found.pairs["is_near_duplicate_issue"].to_numpy()
    table.add_row("near duplicates (pairs)", *_counts(is_pair, flagged_pairs, np.arange(len(is_pair)), len(pairs)))
    for issue, truth, score in (
        ("off_topic", planted.is_off_topic, found.scores.off_topic),
        ("label_errors", planted.is_label_error, found.scores.label),
    ):
        row = _counts(truth, flags[issue], np.argsort(score, kind="stable"), int(truth.sum()))
        table.add_row(issue.replace("_", " "), *row)
    return table


def _counts(
    truth: NDArray[np.bool_], flags: NDArray[np.bool_], worst_first: NDArray[np.int64], planted: int
) -> tuple[str, ...]:
    among_worst = int(truth[worst_first[:planted]].sum())
    return str(planted), str(flags.sum()), str((flags & truth).sum()), f"{among_worst} of the first {planted}"


def _accuracy(
    images: NDArray[np.uint8], labels: NDArray[np.int64], test: NDArray[np.uint8], truth: NDArray[np.int64], seed: int
) -> float:
    """Accuracy, in [0, 1], on clean test images of a small classifier after a short Lightning fit."""
    import lightning
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from selfclean_hooks.utils.rng import preserve_rng_state

    def tensors(images: NDArray[np.uint8], classes: NDArray[np.int64]) -> TensorDataset:
        return TensorDataset(torch.from_numpy(images).float().flatten(1) / 255, torch.from_numpy(classes))

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 2e-3)

    with preserve_rng_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about loaders and loggers is for larger fits
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        torch.default_generator.manual_seed(seed)
        module = Classifier()
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, DataLoader(tensors(images, labels), 64, shuffle=True))
        inputs, classes = tensors(test, truth).tensors
        with torch.no_grad():
            return float((module.net(inputs).argmax(1) == classes).float().mean())
