"""What must hold of the default method as a whole, on any data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from selfclean_hooks import Audit, Thresholds, audit_embeddings
from selfclean_hooks.core.issues import ISSUES
from selfclean_hooks.decisions.settings import FDR, Top
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def clouds(n: int = 240, classes: int = 4, dim: int = 16, seed: int = 0) -> tuple[Floats, Ints]:
    """Classes around centres near each other: (N, D), and (N,) true labels."""
    rng, labels = np.random.default_rng(seed), np.arange(n) % classes
    return 2 + rng.normal(0, 1.2, (classes, dim))[labels] + rng.normal(0, 0.5, (n, dim)), labels


DETECTED = [issue.name for issue in ISSUES if issue.score_field and not issue.is_by_request]
Data = tuple[Floats, "Ints | None"]


def spoiled(seed: int = 0) -> tuple[Floats, Ints]:
    """As `clouds`; 10 wrong labels (at 100), 20 near copies of the first samples (at 240), 8 strange ones (at 260)."""
    rng, (rows, labels) = np.random.default_rng(seed), clouds(seed=seed)
    labels = np.concatenate([labels, labels[:20], np.arange(8) % 4])
    labels[100:110] = (labels[100:110] + 1) % 4
    near, strange = rows[:20] + rng.normal(0, 0.02, (20, 16)), rng.normal(-2, 3, (8, 16))
    return np.concatenate([rows, near, strange]), labels


def half_spoiled() -> tuple[Floats, Ints]:
    """Half of the labels wrong, half of the samples near copies, and half of all strange."""
    rng, (rows, labels) = np.random.default_rng(0), clouds(120)
    rows = np.concatenate([rows, rows + rng.normal(0, 0.02, rows.shape), rng.normal(0, 5, (240, 16))])
    labels = np.concatenate([labels, labels, rng.integers(0, 4, 240)])
    return rows, np.where(rng.uniform(size=480) < 0.5, (labels + 1) % 4, labels)


def gauss(n: int, dim: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, dim))


def alike_but_one(n: int) -> Floats:
    rows = np.ones((n, 4))
    rows[n // 2] = [1, -1, 1, -1]
    return rows


def some_unlabelled() -> tuple[Floats, Ints]:
    rows, labels = spoiled()
    return rows, np.where(np.arange(len(labels)) % 7 == 3, -1, labels)


CASES: Mapping[str, Callable[[], Data]] = {
    "clean": clouds,
    "spoiled": spoiled,
    "half spoiled": half_spoiled,
    "no labels": lambda: (spoiled()[0], None),
    "one class": lambda: (spoiled()[0], np.zeros(268, np.int64)),
    "some unlabelled": some_unlabelled,
    "labels by chance": lambda: (spoiled()[0], np.random.default_rng(0).integers(0, 4, 268)),
    "a class of one": lambda: (clouds()[0], np.append(np.arange(239) % 3, 3)),
    "300 classes of two": lambda: (np.repeat(gauss(300, 16), 2, 0) + 0.3 * gauss(600, 16, 1), np.arange(600) // 2),
    "every sample a class": lambda: (gauss(50, 8), np.arange(50)),
    "class numbers far apart": lambda: (clouds()[0], clouds()[1] * 10**12 + 7),
    "two": lambda: (gauss(2, 5), np.arange(2)),
    "two without labels": lambda: (gauss(2, 5), None),
    "three": lambda: (gauss(3, 5), np.array([0, 0, 1])),
    "twenty": lambda: (gauss(20, 5), np.arange(20) % 2),
    "two alike and another": lambda: (alike_but_one(3), np.arange(3) % 2),
    "all alike but one": lambda: (alike_but_one(60), np.arange(60) % 3),
    "nothing but copies": lambda: (np.repeat(gauss(40, 8), 6, 0), np.repeat(np.arange(40) % 2, 6)),
    "one dimension": lambda: (gauss(50, 1), np.arange(50) % 2),
    "two dimensions": lambda: (clouds(dim=2)[0], clouds()[1]),
    "more dimensions than samples": lambda: (gauss(40, 500), np.arange(40) % 2),
    "zero rows": lambda: (np.concatenate([clouds()[0], np.zeros((3, 16))]), np.arange(243) % 4),
    "huge numbers": lambda: (clouds()[0] * 1e30, clouds()[1]),
}


@cache
def audited(case: str) -> Audit:
    return audit_embeddings(*CASES[case]())


@pytest.mark.parametrize("case", CASES)
def test_scores_and_probabilities_are_shares(case: str) -> None:
    rows, labels = CASES[case]()
    audit = audited(case)
    is_run = "label_errors" not in audit.scores.not_run
    unlabelled = np.full(len(rows), not is_run) | (False if labels is None else labels == -1)
    for issue in DETECTED:
        score = audit.scores.of(issue)
        np.testing.assert_array_equal(np.isnan(score), unlabelled & (issue == "label_errors"))
        there = score[~np.isnan(score)]
        assert ((there >= 0) & (there <= 1)).all()
        if len(there):
            probability = audit.ranking(issue)["probability"]
            if audit.scores.calibration[issue].unknown:
                assert probability.isna().all()
            else:
                assert probability.between(0, 1).all()
                assert (np.diff(probability) <= 1e-12).all()
    table = audit.calibration.set_index("issue")
    assert table.index.tolist() == [issue for issue in DETECTED if issue != "label_errors" or is_run]
    assert (table["estimated"].dropna() <= len(rows)).all()
    assert audit.frame["action"].isin(["keep", "warn", "drop"]).all()


@pytest.mark.parametrize("case", [*CASES])
def test_what_exact_thresholds_flag(case: str) -> None:
    """Flags are what lies below the threshold in force, whatever kind of threshold it is."""
    for thresholds in (Thresholds(), Thresholds(*[FDR(0.1)] * 3), Thresholds(*[Top(0.05)] * 3), Thresholds(0.2)):
        audit = audited(case).at(thresholds=thresholds)
        resolved = audit.decisions.thresholds
        for issue in ("near_duplicates", "off_topic"):
            score = audit.scores.of(issue)
            np.testing.assert_array_equal(audit.decisions.flags[issue], (score < resolved[issue]) | (score == 0))
        below = (audit.scores.label < resolved["label_errors"]) | (audit.scores.label == 0)
        assert audit.decisions.flags["label_errors"][below & (resolved["label_errors"] > -np.inf)].all()


@pytest.mark.parametrize("case", ["clean", "a class of one", "twenty", "two dimensions"])
def test_clean_data_stay_clean(case: str) -> None:
    flags = audited(case).decisions.flags
    assert flags["near_duplicates"].mean() <= 0.01
    assert flags["label_errors"].mean() <= 0.01


def test_what_was_spoiled_is_found() -> None:
    flags = audited("spoiled").decisions.flags
    assert flags["near_duplicates"][[*range(20), *range(240, 260)]].all()
    assert flags["near_duplicates"].sum() <= 42
    assert flags["label_errors"][100:110].sum() >= 9
    assert flags["label_errors"][:240].sum() <= 12
    worst = audited("spoiled").ranking("off_topic")["index"][:8]
    assert set(worst) == set(range(260, 268))


@pytest.mark.parametrize("labelled", [True, False])
def test_order_of_samples_does_not_matter(labelled: bool) -> None:
    rows, labels = spoiled(1)
    order = np.random.default_rng(2).permutation(len(rows))
    one = audit_embeddings(rows, labels if labelled else None)
    two = audit_embeddings(rows[order], labels[order] if labelled else None)
    for issue in DETECTED:
        np.testing.assert_allclose(two.scores.of(issue), one.scores.of(issue)[order], atol=1e-3)
        if issue != "label_errors" or labelled:
            assert two.scores.automatic[issue] == pytest.approx(one.scores.automatic[issue], abs=2e-3)
            np.testing.assert_array_equal(two.decisions.flags[issue], one.decisions.flags[issue][order])
    np.testing.assert_array_equal(two.scores.predicted_label, one.scores.predicted_label[order])


def test_scale_of_rows_and_names_of_classes_do_not_matter() -> None:
    rows, labels = spoiled()
    lengths = np.random.default_rng(3).uniform(0.1, 10, (len(rows), 1))
    other = audit_embeddings(rows * lengths, np.array(["dog", "cat", "ant", "bee"])[labels])
    for issue in DETECTED:
        np.testing.assert_allclose(other.scores.of(issue), audited("spoiled").scores.of(issue), atol=1e-3)


EVERY = ("auto", FDR(0), FDR(0.5), Top(0), Top(0.01), 0.0, 0.3, 1.0)


@pytest.mark.parametrize("threshold", EVERY)
def test_exact_copies_are_flagged_by_every_threshold(threshold: Any) -> None:
    rows, labels = clouds()
    rows[[5, 100, 239]] = rows[0]
    rows[50] = rows[51]
    copies = [0, 5, 50, 51, 100, 239]
    audit = audit_embeddings(rows, labels, thresholds=Thresholds(near_duplicates=threshold))
    assert (audit.scores.near_duplicate == 0).nonzero()[0].tolist() == copies
    assert audit.decisions.flags["near_duplicates"][copies].all()
    assert set(audit.worst("near_duplicates")) >= {5, 51, 100, 239}
    nothing = audit.at(thresholds=Thresholds(near_duplicates=None)).decisions
    assert not nothing.flags["near_duplicates"].any()
    assert (nothing.sets == -1).all()


def test_unlabelled_samples_have_no_say() -> None:
    """Whatever samples without labels look like, the others' labels are as likely as without them."""
    rows, labels = spoiled()
    beside = np.random.default_rng(0).permutation(240)[:60]
    alone = audit_embeddings(rows, labels)
    more = audit_embeddings(np.concatenate([rows, rows[beside] + 0.3]), np.concatenate([labels, np.full(60, -1)]))
    assert np.isnan(more.scores.label[268:]).all()
    assert (more.scores.predicted_label[268:] == -1).all()
    assert not more.decisions.flags["label_errors"][268:].any()
    assert more.decisions.flags["label_errors"][100:110].sum() >= 9
    assert (more.scores.predicted_label[:268] >= 0).all()
    agree = more.decisions.flags["label_errors"][:268] == alone.decisions.flags["label_errors"]
    assert agree.mean() > 0.98


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (None, "there are no labels"),
        (np.zeros(60, np.int64), "all samples carry the same label (0)"),
        (np.full(60, 7), "all samples carry the same label (7)"),
    ],
)
def test_labels_that_cannot_be_audited(labels: Ints | None, why: str) -> None:
    audit = audit_embeddings(gauss(60, 8), labels)
    assert audit.scores.not_run == {"label_errors": why}
    assert np.isnan(audit.scores.label).all()
    assert not audit.decisions.flags["label_errors"].any()
    assert "label_errors" not in audit.contamination
    assert audit.calibration["issue"].tolist() == ["near_duplicates", "off_topic"]


def test_one_class_and_samples_without_any_cannot_be_audited() -> None:
    audit = audit_embeddings(gauss(60, 8), np.where(np.arange(60) < 30, -1, 5))
    assert "label_errors" in audit.scores.not_run
    assert np.isnan(audit.scores.label).all()


def test_one_class_is_no_class_for_the_other_issues() -> None:
    for issue in ("near_duplicates", "off_topic"):
        np.testing.assert_array_equal(audited("one class").scores.of(issue), audited("no labels").scores.of(issue))


def test_half_of_everything_spoiled_is_ranked() -> None:
    audit, labels = audited("half spoiled"), half_spoiled()[1]
    wrong = labels[:240] != np.tile(np.arange(120) % 4, 2)
    ranks = rankdata(audit.scores.label[:240])
    area = (ranks[~wrong].sum() - (~wrong).sum() * ((~wrong).sum() + 1) / 2) / (wrong.sum() * (~wrong).sum())
    assert area > 0.7
    assert audit.decisions.flags["near_duplicates"][:240].mean() > 0.95
    assert audit.scores.off_topic[:240].mean() > audit.scores.off_topic[240:].mean()


def images(n: int = 500, size: int = 14) -> tuple[NDArray[np.uint8], Ints]:
    """Smooth random images (n, size, size), of which a fifth each share a part, and that part (n,)."""
    rng, labels = np.random.default_rng(0), np.arange(n) % 5
    fields = gaussian_filter(rng.normal(size=(n + 5, size, size)), (0, 2, 2))
    mixed = fields[:5][labels] + fields[5:]
    return np.clip(128 + 50 * mixed / mixed.std(), 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize(("share", "seed"), [(0.03, 0), (0.1, 1), (0.2, 2)])
def test_estimated_numbers_are_near_the_truth(share: float, seed: int) -> None:
    data = contaminate(
        *images(),
        off_topic_patches(50, 14),
        near_duplicates=share,
        label_errors=share,
        off_topic=0.02,
        seed=seed,
    )
    rows = data.images.reshape(len(data.images), -1).astype(np.float64)
    estimated = audit_embeddings(rows - rows.mean(), data.labels).calibration.set_index("issue")["estimated"]
    copies, wrong = len(data.duplicate_pairs), data.is_label_error.sum()
    assert copies / 2 <= estimated["near_duplicates"] <= copies * 2
    assert wrong / 2 <= estimated["label_errors"] <= (wrong + data.is_off_topic.sum()) * 2  # those have any label


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_estimated_label_errors_of_digits_are_near_the_truth(share: float) -> None:
    images, labels = digits()
    data = contaminate(images, labels, images[:0], near_duplicates=0, off_topic=0, label_errors=share)
    audit = audit_embeddings(data.images.reshape(len(data.images), -1), data.labels)
    estimated = audit.calibration.set_index("issue").loc["label_errors"]
    wrong = data.is_label_error.sum()
    assert wrong / 2 <= estimated["estimated"] <= wrong * 2
    right = audit.decisions.flags["label_errors"][data.is_label_error].sum() / estimated["num_issues"]
    assert estimated["precision"] <= right + 0.1  # no more is promised than there is


def test_clean_data_are_estimated_to_hold_little() -> None:
    audit = audited("clean")
    estimated = audit.calibration.set_index("issue")["estimated"]
    assert estimated["near_duplicates"] <= 5
    assert estimated["label_errors"] <= 5


def test_the_method_of_the_paper_is_left_alone() -> None:
    rows, labels = spoiled()
    audit = audit_embeddings(rows, labels, method="selfclean")
    assert audit.scores.calibration == {}
    assert audit.scores.local_scale is None
    np.testing.assert_array_equal(audit.scores.pair_score, audit.scores.pair_distance)
    assert replace(audit.scores).tree_score is audit.scores.tree_distance
