"""The tools compared: each takes one data set and says what it found, per issue. Imported only when asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from judging import Found
from numpy.typing import NDArray


class Case(NamedTuple):
    """One data set."""

    vectors: NDArray[np.float32]  # (N, D)
    labels: NDArray[np.int64]  # (N,)
    images: NDArray[np.uint8]  # (N, H, W) or (N, H, W, 3); (0,): vectors alone count


Tool = Callable[[Case], dict[str, Found]]


def ours(method: str) -> Tool:
    def audit(case: Case) -> dict[str, Found]:
        from selfclean_hooks import audit_embeddings

        found = audit_embeddings(case.vectors, case.labels, method=method, images=list(case.images) or None)
        frame, pairs = found.frame, found.pairs
        index = pairs[["index_1", "index_2"]].to_numpy()
        near = (index, pairs["near_duplicate_score"].to_numpy(), index[pairs["is_near_duplicate_issue"].to_numpy()])
        return {
            "near_duplicates": Found(frame["near_duplicate_score"].to_numpy(), None, *near),
            "off_topic": Found(frame["off_topic_score"].to_numpy(), frame["is_off_topic_issue"].to_numpy()),
            "label_errors": Found(frame["label_score"].to_numpy(), frame["is_label_issue"].to_numpy()),
        }

    return audit


def selfclean(case: Case) -> dict[str, Found]:
    """The package itself, exact, every other setting its default; its ranking, without automatic cleaning."""
    from _selfclean_exact import detect, scores

    with tempfile.TemporaryDirectory() as scratch:
        found = scores(detect(case.vectors, case.labels, 100, scratch), len(case.vectors))
    tempfile.tempdir = None  # detect sends temporary files to its folder, which is gone now
    pairs = np.sort(found["pairs"], axis=1)
    distance = np.asarray(found["distance"], np.float64)
    nearest = np.ones(len(case.vectors))
    for column in (0, 1):
        np.minimum.at(nearest, pairs[:, column], distance)
    return {
        "near_duplicates": Found(nearest, None, pairs, distance),
        "off_topic": Found(found["off_topic_score"]),
        "label_errors": Found(found["label_score"]),
    }


def cleanlab(predictions: bool) -> Tool:
    def datalab(case: Case) -> dict[str, Found]:
        from cleanlab import Datalab  # type: ignore[import-not-found]

        lab = Datalab({"label": case.labels}, label_name="label", task="classification", verbosity=0)
        probabilities = out_of_fold(case) if predictions else None
        kinds: dict[str, dict[str, Any]] = {"label": {}, "outlier": {}, "near_duplicate": {}}
        lab.find_issues(features=case.vectors, pred_probs=probabilities, issue_types=kinds)
        found = lab.get_issues()
        found_here = {
            issue: Found(found[f"{name}_score"].to_numpy(), found[f"is_{name}_issue"].to_numpy())
            for issue, name in {"off_topic": "outlier", "label_errors": "label"}.items()
            if f"{name}_score" in found  # none of labels that are all the same
        }
        return {"near_duplicates": _datalab_pairs(lab), **found_here}

    return datalab


def out_of_fold(case: Case) -> NDArray[np.float64]:
    """Class probabilities from a logistic regression on the other folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100, tol=1e-2))
    return np.asarray(cross_val_predict(model, case.vectors, case.labels, cv=folds, method="predict_proba"))


def _datalab_pairs(lab: Any) -> Found:
    """All pairs of its neighbour graph by distance; flagged: those of its near-duplicate sets."""
    table = lab.get_issues("near_duplicate")
    graph = lab.get_info("statistics")["weighted_knn_graph"].tocoo()
    pairs, first = np.unique(np.sort(np.stack([graph.row, graph.col], 1), 1), axis=0, return_index=True)
    sets = [(i, int(j)) for i, members in enumerate(table["near_duplicate_sets"]) for j in members]
    flagged = unique_pairs(sets)
    return Found(table["near_duplicate_score"].to_numpy(), None, pairs.astype(np.int64), graph.data[first], flagged)


def unique_pairs(pairs: list[tuple[int, int]]) -> NDArray[np.int64]:
    """(Q, 2) smaller position first."""
    return np.unique(np.sort(np.array(pairs, np.int64).reshape(-1, 2), axis=1), axis=0)


def local_outlier_factor(case: Case) -> dict[str, Found]:
    from sklearn.neighbors import LocalOutlierFactor

    model = LocalOutlierFactor(n_neighbors=20, metric="cosine")
    flagged = model.fit_predict(case.vectors) < 0
    return {"off_topic": Found(model.negative_outlier_factor_, flagged)}


def isolation_forest(case: Case) -> dict[str, Found]:
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(random_state=0).fit(case.vectors)
    return {"off_topic": Found(model.score_samples(case.vectors), model.predict(case.vectors) < 0)}


def neighbour_distance(case: Case) -> dict[str, Found]:
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=20, metric="cosine").fit(case.vectors)
    return {"off_topic": Found(-model.kneighbors()[0].mean(1))}


def as_files(images: NDArray[np.uint8], folder: str) -> list[str]:
    """PNG files at least 64 pixels wide, the least that the image tools take; their names in order."""
    from PIL import Image

    names = [f"{i:06d}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        image = Image.fromarray(image)
        side = max(64, image.width)
        image.resize((side, side), Image.Resampling.BICUBIC).save(Path(folder) / name)
    return names


def cleanvision(case: Case) -> dict[str, Found]:
    import itertools

    from cleanvision import Imagelab  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        position = {str(Path(folder) / name): i for i, name in enumerate(as_files(case.images, folder))}
        lab = Imagelab(data_path=folder, verbose=False)
        lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
        sets = [s for kind in ("exact_duplicates", "near_duplicates") for s in lab.info[kind]["sets"]]
    pairs = [pair for members in sets for pair in itertools.combinations([position[m] for m in members], 2)]
    return {"near_duplicates": Found(flagged_pairs=unique_pairs(pairs))}


def imagededup(hashing: str) -> Tool:
    """Its hashes; all pairs within a third of the bits make the ranking, its default of 10 bits is the threshold."""

    def hashes(case: Case) -> dict[str, Found]:
        from imagededup import methods  # type: ignore[import-not-found]

        method = getattr(methods, hashing)(verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            names = as_files(case.images, folder)
            codes = {name: method.encode_image(str(Path(folder) / name)) for name in names}
        bits = np.array([[int(b) for b in f"{int(codes[name], 16):064b}"] for name in names], np.float32)
        differing = bits @ (1 - bits.T) + (1 - bits) @ bits.T
        first, second = np.nonzero(np.triu(differing <= 20, 1))
        pairs, distance = np.stack([first, second], 1), differing[first, second]
        np.fill_diagonal(differing, 64)
        return {"near_duplicates": Found(differing.min(1), None, pairs, distance, pairs[distance <= 10])}

    return hashes


def fastdup(neighbours: int) -> Tool:
    """Similarity to each sample's nearest ones ranks the pairs and, least similar first, the outliers.

    Its defaults: two neighbours; flagged: pairs above a similarity of 0.9, outliers in the lowest 5% of similarities.
    """

    def graph(case: Case) -> dict[str, Found]:
        os.environ |= {"SENTRY_OPT_OUT": "1", "FASTDUP_PRODUCTION": "1"}  # no reports, no look for a newer version
        import pandas as pd
        from fastdup import create  # type: ignore[import-not-found]

        n = len(case.vectors)
        names = pd.DataFrame({"filename": [f"{i:06d}.png" for i in range(n)]})  # need not exist beside embeddings
        every = {"threshold": -1.0, "nearest_neighbors_k": neighbours, "num_threads": 1}
        with tempfile.TemporaryDirectory() as folder:
            run = create(work_dir=f"{folder}/work", input_dir=folder)
            run.run(annotations=names, embeddings=np.ascontiguousarray(case.vectors, np.float32), **every)
            listed, outliers = run.similarity(data=False), run.outliers(data=False)
        one, similarity = listed["from"].to_numpy(), listed["distance"].to_numpy()  # named so, but 1 is equal
        nearest, farthest = np.full(n, -1.0), np.ones(n)
        np.maximum.at(nearest, one, similarity)
        np.minimum.at(farthest, one, similarity)
        pairs, first = np.unique(np.sort(listed[["from", "to"]].to_numpy(), axis=1), axis=0, return_index=True)
        near = (pairs, -similarity[first], pairs[similarity[first] >= 0.9])
        return {
            "near_duplicates": Found(-nearest, None, *near),
            "off_topic": Found(farthest, np.isin(np.arange(n), outliers["outlier"])),
        }

    return graph


TOOLS: dict[str, Tool] = {
    "default": ours("default"),
    "selfclean": ours("selfclean"),
    "SelfClean": selfclean,
    "cleanlab": cleanlab(False),
    "cleanlab + predictions": cleanlab(True),
    "LOF": local_outlier_factor,
    "k-NN distance": neighbour_distance,
    "isolation forest": isolation_forest,
    "cleanvision": cleanvision,
    "imagededup PHash": imagededup("PHash"),
    "imagededup DHash": imagededup("DHash"),
    "fastdup": fastdup(2),
    "fastdup 10 neighbours": fastdup(10),
}
OF_IMAGES = frozenset({"cleanvision", "imagededup PHash", "imagededup DHash"})
