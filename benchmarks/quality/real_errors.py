"""The 15 test images of MNIST whose label most people did not agree with, found among 10,000: real label errors.

    QUALITY_DATA=DIR python benchmarks/quality/real_errors.py --cache FILE.npz --output real_errors.csv

A held-out set: to look at its figures is to use it up. --cache keeps the embeddings, which take minutes.
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
from draws import Draw, pixels
from held_out import DISPUTED, mnist_files
from judging import judged
from numpy.typing import NDArray
from pools import self_supervised
from representations import efficientnet
from tools import TOOLS, Case


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Real label errors.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--tools", nargs="*", choices=list(TOOLS), default=["default", "selfclean"])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if not options.cache.is_file():
        np.savez(options.cache, **embedded())  # type: ignore[arg-type]
    with np.load(options.cache) as found:
        kept = dict(found)
    embeddings = {"pixels": pixels(kept["images"]), **{name: kept[name] for name in ("efficientnet", "ssl")}}
    rows = [row_of(tool, name, x, kept) for tool in options.tools for name, x in embeddings.items()]
    if options.output and rows:
        with options.output.open("w", newline="") as opened:
            table = csv.DictWriter(opened, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def embedded() -> dict[str, NDArray[Any]]:
    images, labels = mnist_files("t10k")
    features = {"efficientnet": efficientnet(images)()[""], "ssl": self_supervised(images, len(images))}
    return {"images": images, "labels": labels, **features}


def row_of(tool: str, name: str, vectors: NDArray[np.float32], kept: dict[str, NDArray[Any]]) -> dict[str, Any]:
    n, nowhere = len(vectors), np.zeros(len(vectors), bool)
    wrong = np.isin(np.arange(n), DISPUTED)
    truth = Draw(np.arange(n), kept["labels"], kept["labels"], nowhere, wrong, np.empty((0, 2), np.int64))
    found = TOOLS[tool](Case(vectors, kept["labels"], kept["images"]))["label_errors"]
    row = {
        "tool": tool,
        "representation": name,
        "n": n,
        "errors": int(wrong.sum()),
        **judged(found, "label_errors", truth),
    }
    print(*row.values(), sep="  ", flush=True)
    return row


if __name__ == "__main__":
    main()
