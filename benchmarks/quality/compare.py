"""Which tool finds what, on contaminated data with known answers.

    python benchmarks/quality/compare.py --pools DIR --quick --output quick.csv
    python benchmarks/quality/compare.py --pools DIR --tools default selfclean --output benchmarks/results/quality.csv

DIR holds the pools that pools.py builds. Rows are appended; what a row is there for is not run again. A peer runs in
an environment of its own: call this file with that environment's Python and name it with --tools.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import _paths  # noqa: F401
import numpy as np
from _meter import measure
from draws import Pool, draw, load
from judging import ISSUES, Found, judged
from tools import OF_IMAGES, TOOLS, Case

LEVELS = (0.05, 0.1, 0.01, 0.2)
KINDS = ("both,mixed,uniform", "scattered,one,confusable", "clustered,chain,class")
COLUMNS = (
    *("data", "representation", "level", "kinds", "seed", "n", "tool", "issue"),
    *("ap", "auroc", "f1", "best_f1", "flagged", "cpu_s"),
)
Setting = tuple[float, str, int]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Tools compared.")
    parser.add_argument("--pools", type=Path, required=True, nargs="+", help="NAME.npz, or folders of them")
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=["default", "selfclean"])
    parser.add_argument("--representations", nargs="+", default=["efficientnet", "ssl"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=1000, help="clean samples of a data set")
    parser.add_argument("--output", type=Path, required=True, help="CSV file to append to")
    parser.add_argument("--quick", action="store_true", help="500 samples, one seed, two levels: does it run?")
    options = parser.parse_args(argv)
    samples = 500 if options.quick else options.samples
    warnings.simplefilter("ignore")
    if "default" in options.tools or "selfclean" in options.tools:
        import torch

        torch.set_num_threads(1)
    done = done_in(options.output)
    for tool in options.tools:
        warm_up(tool)
    pools = [(file, load(file)) for place in options.pools for file in files_of(place)]
    for setting in settings(options.quick, options.seeds):  # the outer loop: what is there so far covers all data
        for (file, pool), tool in itertools.product(pools, options.tools):
            name = file.stem.removeprefix("dev_")
            for representation in ["images"] if tool in OF_IMAGES else options.representations:
                key = (name, representation, *map(str, setting), tool)
                if key not in done:
                    append(options.output, rows_of(pool, key, setting, samples))


def warm_up(tool: str) -> None:
    """Imports and first calls are not what is compared."""
    rng = np.random.default_rng(0)
    case = Case(
        rng.normal(size=(120, 16)).astype(np.float32), np.arange(120) % 3, rng.integers(0, 256, (120, 28, 28), np.uint8)
    )
    with contextlib.suppress(Exception):  # what fails here fails on data as well, and is reported there
        TOOLS[tool](case)


def files_of(place: Path) -> list[Path]:
    return sorted(place.glob("*.npz")) if place.is_dir() else [place]


def settings(quick: bool, seeds: int) -> Iterator[Setting]:
    if quick:
        yield from ((0.05, KINDS[0], 0), (0.0, KINDS[0], 0))
        return
    for seed in range(seeds):
        yield 0.0, KINDS[0], seed
        for level, kinds in itertools.product(LEVELS, KINDS):
            yield level, kinds, seed


def rows_of(pool: Pool, key: tuple[str, ...], setting: Setting, samples: int) -> list[dict[str, str]]:
    """One row an issue; one row without figures where the tool failed."""
    name, representation, *_, tool = key
    level, kinds, seed = setting
    n = min(samples, int((pool["role"] == 0).sum()))
    truth = draw(pool, level, kinds, seed, n)
    vectors = pool["pixels" if representation == "images" else representation][truth.rows]
    case = Case(vectors, truth.labels, pool["images"][truth.rows])
    fixed = dict(
        zip(COLUMNS, [name, representation, str(level), kinds, str(seed), str(len(vectors)), tool], strict=False)
    )
    found: dict[str, Found] = {}
    try:
        cost = measure(lambda: found.update(TOOLS[tool](case)))
    except Exception as error:  # of whatever kind: the other tools and data go on
        print(*key, f"failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return [fixed | {"issue": "failed"}]
    spent = {"cpu_s": f"{cost['cpu_s']:.3f}"}
    judgements = ((issue, judged(found[issue], issue, truth)) for issue in ISSUES if issue in found)
    return [fixed | spent | {"issue": issue} | {k: shown(v) for k, v in row.items()} for issue, row in judgements]


def shown(value: float | str) -> str:
    return "" if value != value else f"{value:.4f}" if isinstance(value, float) else str(value)


def done_in(file: Path) -> set[tuple[str, ...]]:
    if not file.is_file():
        return set()
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    return {tuple(row[c] for c in ("data", "representation", "level", "kinds", "seed", "tool")) for row in rows}


def append(file: Path, rows: list[dict[str, str]]) -> None:
    new = not file.is_file()
    with file.open("a", newline="") as opened:
        table = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
        if new:
            table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
