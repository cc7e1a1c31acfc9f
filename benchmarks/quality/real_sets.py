"""What is found among real faults that people verified: label noise, near duplicates, off-topic photographs.

    python benchmarks/quality/real_sets.py --real DIR --output benchmarks/results/quality_real.csv

DIR holds, as far as they are there (none is shipped; rows are appended):

    cifar10n_5k.npz            images, clean_label, aggre_label, random_label1, worse_label (CIFAR-10N, Wei et al. 2022)
    cifar10n_5k.lite0.npy      (N, D) features of them
    cifar10_test_pairs.npz     images, listed (P, 3): near duplicates that people listed (ciFAIR, Barz & Denzler 2020)
    cifar10_test_pairs.lite0.npy
    dogs_cats_half.npz         photographs: jpeg, offsets, labels, emb, off (N,) off-topic, ambiguous (N,) not judged

What is listed of the near duplicates is incomplete, so their precision is a lower bound.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _paths  # noqa: F401
import numpy as np
import torch
from _meter import measure
from draws import Draw
from judging import Found, judged
from numpy.typing import NDArray
from PIL import Image
from tools import TOOLS, Case

NOTHING = np.empty((0, 2), np.int64)
LEVELS = {"aggre": "aggre_label", "random1": "random_label1", "worst": "worse_label"}
COLUMNS = ("data", "n", "tool", "issue", "true", "ap", "auroc", "f1", "best_f1", "flagged", "cpu_s")


class RealSet(NamedTuple):
    """Samples, the issue that is judged, and what is true of them."""

    name: str
    case: Case
    issue: str
    truth: Draw
    judged: NDArray[np.bool_]  # (N,) the rest is ambiguous


def real_sets(folder: Path) -> Iterator[RealSet]:
    """Those whose files are in the folder."""
    yield from _label_noise(folder)
    yield from _near_duplicates(folder)
    yield from _off_topic(folder)


def _truth(n: int, off_topic: Any = None, wrong: Any = None, pairs: NDArray[np.int64] = NOTHING) -> Draw:
    strange = np.zeros(n, bool) if off_topic is None else off_topic
    none = np.zeros(n, np.int64)
    return Draw(np.arange(n), none, none, strange, np.zeros(n, bool) if wrong is None else wrong, pairs)


def _label_noise(folder: Path) -> Iterator[RealSet]:
    if not (folder / "cifar10n_5k.npz").is_file():
        return
    with np.load(folder / "cifar10n_5k.npz") as found:
        kept = dict(found)
    x, n = np.load(folder / "cifar10n_5k.lite0.npy").astype(np.float32), len(kept["images"])
    for level, field in LEVELS.items():
        labels = kept[field].astype(np.int64)
        truth = _truth(n, wrong=labels != kept["clean_label"])
        yield RealSet(f"CIFAR-10N {level}", Case(x, labels, kept["images"]), "label_errors", truth, np.ones(n, bool))


def _near_duplicates(folder: Path) -> Iterator[RealSet]:
    if not (folder / "cifar10_test_pairs.npz").is_file():
        return
    with np.load(folder / "cifar10_test_pairs.npz") as found:
        images, listed = found["images"], np.sort(found["listed"][:, :2].astype(np.int64), axis=1)
    x, n = np.load(folder / "cifar10_test_pairs.lite0.npy").astype(np.float32), len(images)
    case = Case(x, np.zeros(n, np.int64), images)
    yield RealSet("CIFAR-10 test pairs", case, "near_duplicates", _truth(n, pairs=listed), np.ones(n, bool))


def _off_topic(folder: Path) -> Iterator[RealSet]:
    if not (folder / "dogs_cats_half.npz").is_file():
        return
    with np.load(folder / "dogs_cats_half.npz") as found:
        kept = dict(found)
    n = len(kept["labels"])
    parts = [kept["jpeg"][a:b].tobytes() for a, b in zip(kept["offsets"][:-1], kept["offsets"][1:], strict=True)]
    opened = [Image.open(io.BytesIO(part)).convert("RGB").resize((64, 64)) for part in parts]
    case = Case(
        kept["emb"].astype(np.float32), kept["labels"].astype(np.int64), np.stack(list(map(np.asarray, opened)))
    )
    yield RealSet("photographs", case, "off_topic", _truth(n, off_topic=kept["off"]), ~kept["ambiguous"])


def row_of(real: RealSet, tool: str) -> dict[str, Any] | None:
    """How good the tool's findings are; None where it does not look for the issue."""
    found: dict[str, Found] = {}
    cost = measure(lambda: found.update(TOOLS[tool](real.case)))
    if real.issue not in found:
        return None
    one, truth = found[real.issue], real.truth
    true = (
        len(truth.dup_pairs)
        if real.issue == "near_duplicates"
        else int((truth.is_off_topic | truth.is_label_error).sum())
    )
    if real.issue != "near_duplicates":
        at = real.judged
        one = Found(None if one.score is None else one.score[at], None if one.flagged is None else one.flagged[at])
        truth = Draw(
            truth.rows[at],
            truth.labels[at],
            truth.labels[at],
            truth.is_off_topic[at],
            truth.is_label_error[at],
            NOTHING,
        )
    fixed = {"data": real.name, "n": len(real.case.vectors), "tool": tool, "issue": real.issue, "true": true}
    return {**fixed, **judged(one, real.issue, truth), "cpu_s": cost["cpu_s"]}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Real faults.")
    parser.add_argument("--real", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=["default", "selfclean"])
    parser.add_argument("--output", type=Path, required=True, help="CSV file to append to")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    new = not options.output.is_file()
    with options.output.open("a", newline="") as opened:
        table = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
        if new:
            table.writeheader()
        for real in real_sets(options.real):
            for tool in options.tools:
                if (row := row_of(real, tool)) is None:
                    continue
                row = {key: f"{value:.3f}" if isinstance(value, float) else value for key, value in row.items()}
                print(*row.values(), sep="  ", flush=True)
                table.writerow(row)


if __name__ == "__main__":
    main()
