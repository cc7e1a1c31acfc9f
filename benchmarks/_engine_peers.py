"""What other tools cost on given embeddings, one a process. Runs in their own environment.

    PYTHON _engine_peers.py TOOL VECTORS.npz LABELS.npz FOLDER

Reads `emb` (N, D) from the first file and `labels` (N,) from the second, and prints one line of JSON. `datalab` looks
for near duplicates, outliers and label errors; the others for the 20 nearest neighbours by cosine distance, as the row
`neighbors` of `engine.py` does. What is approximate says its recall, measured on 200 rows, with its version.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from _meter import measure

K, PROBES = 20, 200
Found = Any  # positions (N, 20), or None


def datalab(vectors: Any, labels: Any) -> Found:
    """Every option its default."""
    from cleanlab import Datalab  # type: ignore[import-not-found]

    lab = Datalab({"label": labels.tolist()}, label_name="label", verbosity=0)
    lab.find_issues(features=vectors, issue_types={"near_duplicate": {}, "outlier": {}, "label": {}})


def sklearn(vectors: Any, _labels: Any) -> Found:
    """Brute force."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine").fit(vectors)
    return search.kneighbors(return_distance=False)


def faiss(vectors: Any, _labels: Any) -> Found:
    """Brute force; each row is its own nearest."""
    from faiss import IndexFlatIP

    index = IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index.search(vectors, K + 1)[1]


def hnswlib(vectors: Any, _labels: Any) -> Found:
    """Approximate; the parameters of its README, and as many candidates as give a recall near .99 on photographs."""
    from hnswlib import Index  # type: ignore[import-untyped]

    index = Index(space="cosine", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=200, M=16)
    index.set_num_threads(1)
    index.add_items(vectors)
    index.set_ef(200)
    return index.knn_query(vectors, K + 1)[0]


def recall(found: Any, vectors: Any) -> float:
    """Which share of the 20 nearest others of some rows was found."""
    rows = np.linspace(0, len(vectors) - 1, PROBES).astype(int)
    similar = vectors[rows] @ vectors.T
    similar[np.arange(PROBES), rows] = -np.inf
    nearest = np.argpartition(-similar, K, axis=1)[:, :K]
    return float(np.mean([np.isin(near, found[row]).mean() for near, row in zip(nearest, rows, strict=True)]))


TOOLS: dict[str, tuple[Callable[[Any, Any], Found], str]] = {
    "datalab": (datalab, "cleanlab"),
    "sklearn": (sklearn, "scikit-learn"),
    "faiss": (faiss, "faiss-cpu"),
    "hnswlib": (hnswlib, "hnswlib"),
}


def main(tool: str, vectors_file: str, labels_file: str, _folder: str) -> None:
    vectors, labels = np.load(vectors_file)["emb"], np.load(labels_file)["labels"]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    work, package = TOOLS[tool]
    work(vectors[:200], labels[:200])  # imports and first-call costs are not what is compared
    found: list[Any] = []
    cost: dict[str, Any] = dict(measure(lambda: found.append(work(vectors, labels))))
    said = "" if found[0] is None else f", recall {recall(found[0], vectors):.3f}"
    print(json.dumps(cost | {"n": len(vectors), "version": f"{package} {version(package)}{said}"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
