"""One measurement of `engine.py`, in a process of its own.

    python _engine_work.py TASK VECTORS.npz LABELS.npz FOLDER

`default`, `audit`, `neighbors` and `gemm` print their cost as one line of JSON, `compare` how far FOLDER/audit.npz and
FOLDER/selfclean.npz differ; `synthesize:N` and `clusters:N` write N made-up vectors and labels to the two files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _meter import measure

D = 1280
BLOCK = 2048


def default(vectors_file: Path, labels_file: Path, folder: Path) -> dict[str, object]:
    """What users run: the default method, and every table they read."""
    return audit(vectors_file, labels_file, folder, "default")


def audit(vectors_file: Path, labels_file: Path, folder: Path, method: str = "selfclean") -> dict[str, object]:
    """The three scores of the paper by `audit_embeddings`, and every table a user reads from them."""
    import selfclean_hooks

    def work(rows: slice) -> dict[str, Any]:
        found = selfclean_hooks.audit_embeddings(vectors[rows], labels[rows], method=method)
        frame, pairs, _ = found.frame, found.pairs, found.clean_indices
        scores = {name: frame[name].to_numpy(float) for name in ("off_topic_score", "label_score")}
        return scores | {"distance": pairs["distance"].to_numpy(float)[: len(frame)]}

    vectors, labels = np.load(vectors_file)["emb"], np.load(labels_file)["labels"]
    work(slice(64))  # imports and first-call costs are not what is compared
    scores: dict[str, Any] = {}
    cost = measure(lambda: scores.update(work(slice(None))))
    if method == "selfclean":
        np.savez(folder / "audit.npz", **scores)
    return {**cost, "n": len(vectors), "version": f"torch {torch.__version__}"}


def neighbors(vectors_file: Path, _labels_file: Path, _folder: Path) -> dict[str, object]:
    """The 20 nearest neighbours alone, exact."""
    from selfclean_hooks.neighbors.knn import nearest_neighbors
    from selfclean_hooks.neighbors.unit_vectors import UnitRows

    vectors = np.load(vectors_file)["emb"]
    nearest_neighbors(UnitRows.of(vectors[:64]), 20)
    cost = measure(lambda: nearest_neighbors(UnitRows.of(vectors), 20))
    return {**cost, "n": len(vectors), "version": f"torch {torch.__version__}"}


def gemm(vectors_file: Path, _labels_file: Path, _folder: Path) -> dict[str, object]:
    """The floor: all N x N products in bfloat16, block by block, nothing kept."""
    x = torch.nn.functional.normalize(torch.from_numpy(np.load(vectors_file)["emb"]), dim=1).bfloat16()

    def work() -> None:
        for start in range(0, len(x), BLOCK):
            torch.mm(x[start : start + BLOCK], x.T)

    torch.mm(x[:BLOCK], x[:BLOCK].T)  # the first call of its kind costs more
    return {**measure(work), "n": len(x), "version": f"torch {torch.__version__}"}


def compare(_vectors_file: Path, _labels_file: Path, folder: Path) -> dict[str, object]:
    """The largest difference of each score between the two tools; pair distances compared rank by rank."""
    ours, theirs = np.load(folder / "audit.npz"), np.load(folder / "selfclean.npz")
    names = ("off_topic_score", "label_score", "distance")
    return {name: float(np.abs(ours[name] - theirs[name]).max()) for name in names}


def synthesize(n: int, vectors_file: Path, labels_file: Path) -> None:
    """Ten Gaussian classes in 64 dimensions, seen through D random rectified features, like those of a network."""
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=n)
    latent = rng.standard_normal((10, 64))[labels] + rng.standard_normal((n, 64))
    features = np.maximum(latent.astype(np.float32) @ rng.standard_normal((64, D)).astype(np.float32), 0)
    np.savez(vectors_file, emb=features / np.linalg.norm(features, axis=1, keepdims=True))
    np.savez(labels_file, labels=labels)


def clusters(n: int, vectors_file: Path, labels_file: Path) -> None:
    """Forty Gaussian classes with noise in all D dimensions alike, the least that a screen can make use of."""
    rng = np.random.default_rng(0)
    labels = rng.integers(40, size=n)
    emb = rng.standard_normal((40, D), np.float32)[labels] + 0.9 * rng.standard_normal((n, D), np.float32)
    np.savez(vectors_file, emb=emb / np.linalg.norm(emb, axis=1, keepdims=True))
    np.savez(labels_file, labels=labels)


MADE = {"synthesize": synthesize, "clusters": clusters}
TASKS = {"default": default, "audit": audit, "neighbors": neighbors, "gemm": gemm, "compare": compare}


def main(task: str, *paths: str) -> None:
    torch.set_num_threads(1)
    vectors_file, labels_file, folder = map(Path, paths)
    kind, _, number = task.partition(":")
    if kind in MADE:
        MADE[kind](int(number), vectors_file, labels_file)
    else:
        print(json.dumps(TASKS[task](vectors_file, labels_file, folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
