"""Seconds of the exact engine on a device, its TFLOP/s, and its share of the bare matrix product there.

    python benchmarks/engine_device.py --device cuda
    python benchmarks/engine_device.py --device cpu --sizes 2000

Data are 1,000 Gaussian clusters in D dimensions with labels; all three scores, by both methods.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from selfclean_hooks import audit_embeddings
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.screening.device import Device, screening_on
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product

NEIGHBORS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds of the exact engine on a device.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[60_000, 250_000, 1_280_000])
    parser.add_argument("--dimensions", type=int, default=384)
    options = parser.parse_args()
    where = Device.of(torch.device(options.device))
    name = torch.cuda.get_device_name(where.kind) if where.kind.type == "cuda" else where.kind.type
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads of the processor")
    for n in options.sizes:
        vectors, labels = clusters(n, options.dimensions)
        measure(n, vectors, labels, where)


def clusters(n: int, dimensions: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, n)
    vectors = rng.standard_normal((1000, dimensions), np.float32)[labels]
    for start in range(0, n, 100_000):
        part = vectors[start : start + 100_000]
        part += np.float32(0.9) * rng.standard_normal(part.shape, np.float32)
    return vectors, labels


def measure(n: int, vectors: Any, labels: Any, where: Device) -> None:
    """One line a step."""
    x, flop = UnitRows.of(vectors), 2 * n**2 * vectors.shape[1]
    rows = x.values.to(where.kind, where.precision())
    height, width = where.block(n, n)

    def product() -> None:
        for part in torch.split(rows, height):
            for others in torch.split(rows, width):
                matrix_product(part, others)

    matrix_product(rows[:height], rows[:width])  # the first call of its kind costs more
    bare = seconds(product, where)
    print(f"N = {n:,}: product alone {bare:.2f} s, {flop / bare / 1e12:.2f} TFLOP/s")
    with screening_on(where):
        found: list[Any] = []
        took = seconds(lambda: found.append(nearest_neighbors(x, NEIGHBORS)), where)
        rate = f"{flop / took / 1e12:.2f} TFLOP/s, {bare / took:.0%} of the product alone"
        print(f"  neighbours {took:.2f} s, {rate}; {found[0].num_fallback_rows:,} rows searched again by the processor")
        print(f"  tree {seconds(lambda: minimum_spanning_tree(x, found[0]), where):.2f} s")
    for method in ("selfclean", "default"):
        took = seconds(lambda method=method: audit_embeddings(vectors, labels, method, device=where.kind), where)  # type: ignore[misc]
        print(f"  audit_embeddings, {method}: {took:.2f} s")


def seconds(work: Callable[[], object], where: Device) -> float:
    """Wall time until the device is done, too."""
    start = time.perf_counter()
    work()
    if where.kind.type == "cuda":
        torch.cuda.synchronize(where.kind)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
