"""How long `gate` and `report` take on a saved audit: whole processes, from start to exit.

    python benchmarks/startup.py --quick
    python benchmarks/startup.py --output benchmarks/results/startup.csv

The audit is of made-up embeddings with labels. Each command runs in turn, several times; reported are the medians.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _meter import ONE_THREAD, measure
from engine import machine

from selfclean_hooks import audit_embeddings

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "gate": ["-m", "selfclean_hooks", "gate", "{}", "--max-total", "1"],
    "gate --format json": ["-m", "selfclean_hooks", "gate", "{}", "--max-total", "1", "--format", "json"],
    "gate --format sarif": ["-m", "selfclean_hooks", "gate", "{}", "--max-total", "1", "--format", "sarif"],
    "report": ["-m", "selfclean_hooks", "report", "{}"],
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Start-up of gate and report.")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="few samples, once: does it run?")
    options = parser.parse_args(argv)
    n, repeat = (300, 1) if options.quick else (options.samples, options.repeat)
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 10
    vectors = rng.normal(size=(n, 64)).astype(np.float32) + 3 * np.eye(64, dtype=np.float32)[labels]
    with tempfile.TemporaryDirectory() as folder:
        audit_embeddings(vectors, labels).save(folder)
        rows = measured(folder, n, repeat)
    for row in rows:
        print(f"{row['command']:22} {row['wall_s']:6.2f} s, {row['cpu_s']:6.2f} CPU s")
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def measured(folder: str, n: int, repeat: int) -> list[dict[str, str | float]]:
    """The median of every command."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS}
    for _ in range(repeat):
        for name, arguments in COMMANDS.items():
            command = [sys.executable, *(argument.format(folder) for argument in arguments)]
            runs[name].append(measure(lambda command=command: _run(command)))  # type: ignore[misc]
    rows: list[dict[str, str | float]] = []
    for name, found in runs.items():
        wall, cpu = (statistics.median(run[what] for run in found) for what in ("wall_s", "cpu_s"))
        rows.append({"command": name, "samples": n, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2)})
    return [row | {"machine": machine()} for row in rows]


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ONE_THREAD})


if __name__ == "__main__":
    main()
