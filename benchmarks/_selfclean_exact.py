"""SelfClean 0.0.39 in exact mode on given embeddings: what it costs. Runs in SelfClean's own environment.

    PYTHON _selfclean_exact.py CHUNK_SIZE VECTORS.npz LABELS.npz FOLDER

Reads `emb` (N, D) from the first file and `labels` (N,) from the second, prints one line of JSON, and writes the scores
to FOLDER/selfclean.npz. SelfClean's temporary files go to FOLDER as well, so that they can be counted.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _meter import measure


def main(chunk: int, vectors_file: str, labels_file: str, folder: Path) -> None:
    import numpy as np

    vectors, labels = np.load(vectors_file)["emb"], np.load(labels_file)["labels"]
    found: list[Any] = []
    with tempfile.TemporaryDirectory(dir=folder) as first, tempfile.TemporaryDirectory(dir=folder) as scratch:
        detect(vectors[:64], labels[:64], chunk, first)  # imports and first-call costs are not what is compared
        cost = measure(lambda: found.append(detect(vectors, labels, chunk, scratch)))
        disk = {"disk_mib": disk_mib(scratch)}
        np.savez(folder / "selfclean.npz", **scores(found[0], len(vectors)))
    tool = {"n": len(vectors), "version": f"selfclean {version('selfclean')}, chunk_size {chunk}"}
    print(json.dumps(cost | disk | tool))


def detect(vectors: Any, labels: Any, chunk: int, scratch: str) -> Any:
    """The issue manager that `SelfCleanCleaner` returns for all three issues, with every other setting its default."""
    from selfclean.cleaner.selfclean_cleaner import SelfCleanCleaner  # type: ignore[import-not-found]

    tempfile.tempdir = scratch  # whatever it writes besides the memory maps is counted too
    cleaner = SelfCleanCleaner(memmap_path=scratch, chunk_size=chunk, approximate_nn=False, log_level="ERROR")
    cleaner.fit(emb_space=vectors, labels=labels)
    return cleaner.predict()


def disk_mib(folder: str) -> float:
    """Space in use below `folder`, holes in sparse files not counted."""
    paths = (os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
    return sum(os.stat(path).st_blocks for path in paths) * 512 / 2**20


def scores(found: Any, n: int) -> dict[str, Any]:
    """Off-topic and label scores in data set order, and the n nearest pairs, nearest first."""
    import numpy as np

    out: dict[str, Any] = {}
    for issue, name in (("off_topic_samples", "off_topic_score"), ("label_errors", "label_score")):
        out[name] = np.full(n, np.nan)
        if (ranking := found.get_issues(issue)) is not None:  # it was not looked for: all labels are the same
            out[name][np.asarray(ranking["indices"])] = ranking["scores"]
    near = found.get_issues("near_duplicates")
    return out | {"pairs": np.array(near["indices"][:n]), "distance": np.array(near["scores"][:n])}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
