"""Evidence: exact neighbours against brute force, a map that does not depend on chance, and both saved."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfclean_hooks import Audit, Thresholds, audit, audit_embeddings, audit_splits
from selfclean_hooks.core.embeddings import MAX_CLASS_NEIGHBORS, MAX_OFF_TOPIC_NEIGHBORS, Evidence
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.results.finding_neighbors import with_evidence
from selfclean_hooks.results.findings import select_findings
from selfclean_hooks.storage.ownership import digest_of
from tests.results.evidence import Floats, N, Rows, flat, labels, made, vectors


def evidence_of(audit: Audit) -> Evidence:
    assert audit.evidence is not None
    return audit.evidence


def by_brute_force(rows: Floats, i: int, k: int, among: NDArray[np.int64]) -> tuple[int, ...]:
    """The k nearest of `among`, without copies of i, and of copies of one another the first only."""
    x = UnitRows.of(rows)
    distance = x.distances(torch.tensor([i]), torch.from_numpy(among)[None])[0].numpy()
    contents: set[bytes] = {rows[i].tobytes()}
    found = []
    for j in among[np.lexsort((among, distance))].tolist():
        if rows[j].tobytes() not in contents:
            contents.add(rows[j].tobytes())
            found.append(j)
    return tuple(found[:k])


def check(audit: Audit, rows: Floats, given: NDArray[np.int64], readable: Any) -> None:
    """Against brute force: of the samples of a class those that are not flagged themselves, if there are any."""
    found, predicted = evidence_of(audit), audit.scores.predicted_label
    doubted = (audit.decisions.flags["label_errors"] | audit.decisions.flags["off_topic"])[readable]
    assert found.off_topic
    assert found.labels
    at = {int(p): row for row, p in enumerate(readable)}

    def nearest(i: int, k: int, wanted: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(readable[j]) for j in by_brute_force(rows, at[i], k, wanted.nonzero()[0]))

    def of_class(i: int, label: int) -> tuple[int, ...]:
        wanted = given[readable] == label
        return nearest(i, MAX_CLASS_NEIGHBORS, wanted & ~doubted if (wanted & ~doubted).any() else wanted)

    for i, places in found.off_topic.items():
        assert places == nearest(i, MAX_OFF_TOPIC_NEIGHBORS, np.ones(len(rows), bool))
    for i, (own, other) in found.labels.items():
        assert own == of_class(i, given[i])
        assert other == (() if given[i] == predicted[i] else of_class(i, predicted[i]))


@pytest.mark.parametrize("method", ["default", "selfclean"])
def test_neighbours_are_those_of_brute_force(method: str) -> None:
    found = made(method=method)
    check(found, vectors(), labels(), np.arange(N))
    items = select_findings(found)
    assert list(evidence_of(found).off_topic) == items.samples["off_topic"].tolist()
    assert list(evidence_of(found).labels) == items.samples["label_errors"].tolist()


def test_a_doubtful_label_is_judged_by_samples_that_are_not_in_doubt() -> None:
    rows, given = two_groups()
    found = audit_embeddings(rows, given, thresholds=Thresholds(near_duplicates=None, off_topic=None))
    doubted = found.decisions.flags["label_errors"].nonzero()[0]
    assert {3, 4, 5} <= set(doubted.tolist())
    shown = {j for own, other in evidence_of(found).labels.values() for j in (*own, *other)}
    assert shown
    assert not shown & set(doubted.tolist())
    every = audit_embeddings(rows, given, thresholds=Thresholds(None, None, label_errors=1.0))
    assert any(own and other for own, other in evidence_of(every).labels.values())  # where all are in doubt


def two_groups() -> tuple[Floats, NDArray[np.int64]]:
    """Two clear classes; the labels of 3, 4 and 5, which lie close together, are those of the other class."""
    rng = np.random.default_rng(3)
    given = np.arange(120) % 2
    rows = rng.normal(size=(120, 8)) + 6 * np.eye(8)[given]
    rows[3:6] = 6 * np.eye(8)[0] + rng.normal(size=(3, 8)) * 0.3
    given[3:6] = 1
    return rows.astype(np.float32), given


def test_a_class_of_one_and_a_sample_without_a_label_have_no_neighbours_there() -> None:
    given = labels()
    given[3], given[4] = 9, -1
    found = evidence_of(audit_embeddings(vectors(), given, thresholds=Thresholds(label_errors=1.0)))
    assert found.labels[3][0] == ()
    assert len(found.labels[3][1]) == MAX_CLASS_NEIGHBORS
    assert found.labels.get(4, ((), ())) == ((), ())


def test_of_labels_that_are_no_classes_it_is_the_nearest_of_all() -> None:
    targets = np.random.default_rng(2).normal(size=N)
    found = evidence_of(audit_embeddings(vectors(), targets))
    assert found.labels
    for i, (nearest, other) in found.labels.items():
        assert other == ()
        assert nearest == by_brute_force(vectors(), i, MAX_CLASS_NEIGHBORS, np.arange(N))


def test_without_labels_there_are_none_to_compare() -> None:
    assert evidence_of(audit_embeddings(vectors())).labels == {}


def test_two_samples_are_enough() -> None:
    found = evidence_of(audit_embeddings(np.eye(2), [0, 1]))
    assert found.off_topic == {0: (1,), 1: (0,)}
    assert found.map is not None
    assert found.map.shape == (2, 2)


def test_positions_are_those_in_the_data_set_where_some_cannot_be_read() -> None:
    broken = (0, 30, 150)
    found = audit(Rows(broken), flat, progress=False)
    readable = np.delete(np.arange(N), broken)
    check(found, vectors()[readable], found.scores.given_label, readable)
    places = evidence_of(found).map
    assert places is not None
    assert np.isnan(places).all(1).nonzero()[0].tolist() == list(broken)
    assert set(broken).isdisjoint(evidence_of(found).neighbors())


def test_each_split_has_its_own() -> None:
    found = audit_splits({"train": Rows(), "val": Rows((5,))}, flat, progress=False, max_items=7)
    for name, broken in (("train", ()), ("val", (5,))):
        one = found.audits[name]
        readable = np.delete(np.arange(N), broken)
        check(one, vectors()[readable], one.scores.given_label, readable)
        assert len(evidence_of(one).off_topic) == 7
        assert len(select_findings(one).leaks) == 7
        assert one.provenance["settings"]["max_items"] == 7


def test_it_comes_out_the_same_again_and_leaves_random_state_alone() -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    rows = vectors()
    first, second = evidence_of(made()), evidence_of(with_evidence(replace(made(), evidence=None), rows))
    assert first.map is not None
    assert second.map is not None
    assert (first.map == second.map).all()
    assert (rows == vectors()).all()
    assert (np.random.get_state()[1] == before[0]).all()  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seven")
    made(max_items=7).save(folder)
    return folder


def changed(folder: Path, name: str, value: Any) -> None:
    """Another array in scores.npz, and a manifest that agrees."""
    with np.load(folder / "scores.npz") as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = np.array(value) if value is not None else arrays.pop(name)
    if value is None:
        del arrays[name]
    np.savez(folder / "scores.npz", allow_pickle=False, **arrays)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["scores_blake2b"] = digest_of((folder / "scores.npz").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("evidence_off_topic_index", [N], "points outside|must be of shape"),
        ("evidence_off_topic", np.full((7, MAX_OFF_TOPIC_NEIGHBORS), N), "points outside"),
        ("evidence_off_topic", np.full((7, MAX_OFF_TOPIC_NEIGHBORS), -2), "points outside"),
        ("evidence_off_topic", np.zeros((7, MAX_OFF_TOPIC_NEIGHBORS + 1), np.int64), "must be of shape"),
        ("evidence_off_topic", np.zeros((7, MAX_OFF_TOPIC_NEIGHBORS)), "must hold int64"),
        ("evidence_off_topic_index", [0, 1, 2, 3, 4, 5, -1], "points outside"),
        ("evidence_labels", np.full((7, 2, MAX_CLASS_NEIGHBORS), N), "points outside"),
        ("evidence_labels", np.zeros((7, MAX_CLASS_NEIGHBORS), np.int64), "must be of shape"),
        ("evidence_labels", None, "it lacks 'evidence_labels'"),
        ("evidence_map", np.zeros((N - 1, 2), np.float32), "must be of shape \\(240, 2\\)"),
        ("evidence_map", np.zeros((N, 2), np.int64), "must hold float32, got int64"),
        ("evidence_map", np.full((N, 2), 1.5, np.float32), "evidence_map is out of range"),
        ("evidence_map", np.full((N, 2), np.inf, np.float32), "evidence_map is out of range"),
        ("evidence_projection", [4], "evidence_projection is out of range: 4"),
        ("evidence_projection", [0, 1], r"must be of shape \(1,\)"),
    ],
)
def test_evidence_that_cannot_be_is_refused(name: str, value: Any, message: str, seven: Path, tmp_path: Path) -> None:
    shutil.copytree(seven, tmp_path, dirs_exist_ok=True)
    changed(tmp_path, name, value)
    with pytest.raises(AuditFileError, match=message):
        Audit.load(tmp_path)


def test_an_audit_of_a_version_that_had_no_evidence_loads(tmp_path: Path) -> None:
    replace(made(), evidence=None).save(tmp_path)
    assert Audit.load(tmp_path).evidence is None
