"""Groups of samples that belong together, as the images of one patient or the frames of one film."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from selfclean_hooks.core.scores import Scores
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

NOT_ESTIMATED = "samples of one group are not compared, and chance is known for comparisons of all alone"


def group_text(value: Any) -> str:
    """A group as text, "" for None, NaN and NA; 3.0 is 3, also as text: a column with gaps holds floats.

    Raises:
        DataError: it is several values.
    """
    try:
        plain = value.item() if hasattr(type(value), "item") else value
        is_missing = plain is None or bool(plain != plain)
    except TypeError:  # pandas' NA is not even unequal to itself
        return ""
    except (ValueError, RuntimeError) as error:  # of numpy, of torch
        raise DataError(f"a group must be one value, got {value!r:.60}: join them to one text") from error
    text = "" if is_missing else str(plain)
    whole = text.removesuffix(".0")
    return whole if whole.lstrip("-").isdecimal() else text


def note_groups(groups: Sequence[str]) -> tuple[str, ...]:
    """What the user reads of groups; nothing where there are none."""
    number = len(set(groups) - {""})
    if groups and not number:
        return ("no sample is in a group: the pattern or function of groups gives none for all of them",)
    return (f"samples of one group are not compared with each other: {number} groups",) if number else ()


def same_group(one: Sequence[str], other: Sequence[str], first: IntArray, second: IntArray) -> BoolArray:
    """(P,) whether the samples of pairs, at `first` of one split and `second` of another, are of one group.

    Args:
        one: (N,) the group of each sample, "" for none; () where there are no groups.
        other: (M,) the same of the other split.
        first: (P,) positions.
        second: (P,) positions.
    """
    if not one or not other:
        return np.zeros(len(first), bool)
    mine, its = np.array(one, np.str_)[first], np.array(other, np.str_)[second]
    return np.asarray((mine == its) & (mine != ""))


def group_leakage(groups: Sequence[str], others: Iterable[Sequence[str]]) -> FloatArray:
    """(N,) score of each sample of a split: 0 where its group is in another split, 1 where not, NaN without a group.

    Args:
        groups: (N,) of its samples.
        others: of each other split.
    """
    beyond = {group for other in others for group in other}
    scores = [np.nan if not group else float(group not in beyond) for group in groups]
    return np.array(scores, np.float64)


def with_group_leakage(scores: Scores, groups: Sequence[str], others: Iterable[Sequence[str]]) -> Scores:
    """The scores with the issue "group_leakage", where there are groups."""
    if not groups:
        return scores
    extra = {**scores.extra, "group_leakage": group_leakage(groups, others)}
    return replace(scores, extra=extra, automatic={**scores.automatic, "group_leakage": 0.5})


def _through_a_group(scores: Scores, groups: Sequence[str]) -> BoolArray:
    """(M,) edges of the tree between exact copies some of which are of one group.

    Exact copies count as one sample, which would make samples of a group copies of each other through one of another.
    """
    exact = scores.tree_score == 0
    first = list(range(len(scores)))  # of the copies, after a few steps

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = i = first[first[i]]
        return i

    for start, end in scores.tree_index[exact].tolist():
        first[root(start)] = root(end)
    roots = np.array([root(i) for i in range(len(scores))])
    of_group = Counter((at, group) for at, group in zip(roots.tolist(), groups, strict=True) if group)
    mixed = [at for (at, _), times in of_group.items() if times > 1]
    return np.asarray(exact & np.isin(roots[scores.tree_index[:, 0]], mixed))


def without_group_pairs(scores: Scores, groups: Sequence[str]) -> Scores:
    """The scores where samples of one group are no near duplicates of each other.

    A sample has the score of its nearest pair with another group; where no such pair is listed, at least the score
    below which all are.
    """
    if not groups:
        return scores
    pairs, edges = (~same_group(groups, groups, *index.T) for index in (scores.pair_index, scores.tree_index))
    edges &= ~_through_a_group(scores, groups)
    index, score = scores.pair_index[pairs], scores.pair_score[pairs]
    nearest = np.full(len(scores), np.inf)
    np.minimum.at(nearest, index.ravel(), np.repeat(score, 2).astype(np.float64))
    beyond = np.minimum(np.maximum(scores.near_duplicate, scores.pairs_complete_below), 1.0)
    own = np.where(np.isfinite(nearest), nearest, beyond)
    calibration = dict(scores.calibration)
    if "near_duplicates" in calibration:
        calibration["near_duplicates"] = replace(calibration["near_duplicates"], unknown=NOT_ESTIMATED)
    return replace(
        scores,
        near_duplicate=np.where(np.isnan(scores.near_duplicate), np.nan, own),
        pair_index=index,
        pair_distance=scores.pair_distance[pairs],
        pair_score=score,
        mirrored=None if scores.mirrored is None else scores.mirrored[pairs],
        tree_index=scores.tree_index[edges],
        tree_distance=scores.tree_distance[edges],
        scaled_tree_score=None if scores.scaled_tree_score is None else scores.scaled_tree_score[edges],
        calibration=calibration,
    )
