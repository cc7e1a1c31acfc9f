"""How often hard samples disagree with their label, and how often wrong labels do.

A label may disagree with the best supported class because the sample is hard or because the label is wrong. The former
dies out where another class is near certain, the latter does not: it is the floor of the disagreement. So the rate of
disagreement of samples whose best class leads by a margin m is modelled as

    e + (1 - e) / (1 + exp(a + b m^k)),  a <= 0

with the floor e, whose likelihood is profiled over a and b: where no class leads, at least half of the labels
disagree. The power k is not known: k = 1 is the logistic regression that the supports were fitted by, a lower one lets
hard samples die out more slowly and leaves less to the floor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

FLOORS = np.concatenate([np.arange(0, 0.02, 0.002), np.arange(0.02, 0.1, 0.005), np.arange(0.1, 0.72, 0.02)])
BINS, BIN_SIZE = 60, 8  # of equally many samples, at least 8 each
MIN_SLOPE = 0.7  # b, of a margin in nats: supports are log probabilities; where labels are right b is 0.6 to 1.2
STEPS = 30  # of Newton's method
MIN_CLASS = 50  # samples that tell hardness from a floor
SUPPORTED = 1.92  # log likelihood ratio within which 95% of the maxima lie: half of the quantile of chi-square
HEAVY_POWER = 0.75  # k at which pixels of natural images, all labels right, have no floor


@dataclass(frozen=True, eq=False)
class HardSamples:
    """Of N samples: the rate of wrong labels among their like, and the probability that a right label disagrees."""

    floor: FloatArray  # (N,)
    rate: FloatArray  # (N,)
    groups: int = 1  # of classes, each with a floor of its own

    def of(self, rows: slice) -> HardSamples:
        """Those of some rows."""
        return replace(self, floor=self.floor[rows], rate=self.rate[rows])

    def log_likelihood(self, disagrees: BoolArray) -> float:
        """Of the samples that disagree (N,)."""
        p = np.clip(self.floor + (1 - self.floor) * self.rate, 1e-9, 1 - 1e-9)
        return float(np.log(np.where(disagrees, p, 1 - p)).sum())


@dataclass(frozen=True)
class Hardness:
    """A floor, and the probability that a right label is not the best supported class, by the margin of that."""

    floor: float
    intercept: float
    slope: float
    power: float
    scale: float  # margins are measured in units of this

    def of(self, margin: FloatArray) -> HardSamples:
        """Samples with these margins (N,) >= 0 in nats."""
        rate = expit(-self.intercept - self.slope * self.scale * (margin / self.scale) ** self.power)
        return HardSamples(np.full(len(margin), self.floor), np.asarray(rate))


@dataclass(frozen=True)
class Floors:
    """The most likely floor, the lowest and the highest that the data support."""

    best: Hardness
    lowest: Hardness
    highest: Hardness


def fit_floors(margin: FloatArray, disagrees: BoolArray, power: float = 1.0) -> Floors:
    """The floor of the disagreement with its 95% interval by profile likelihood.

    Args:
        margin: (N,) >= 0, of the best supported class over the next, in nats.
        disagrees: (N,) whether the label is another class.
        power: k.
    """
    scale = max(float(margin.mean()), 1e-9)
    order = np.argsort(margin, kind="stable")
    parts = np.array_split(order, max(1, min(BINS, len(order) // BIN_SIZE)))
    x = np.array([scale * ((margin[part] / scale) ** power).mean() for part in parts])
    size = np.array([len(part) for part in parts], np.float64)
    hits = np.array([float(disagrees[part].sum()) for part in parts])
    lines, loss = _fit_lines(x, hits, size)
    supported = np.nonzero(loss - loss.min() <= SUPPORTED)[0]
    best, lowest, highest = (
        Hardness(float(FLOORS[i]), float(lines[i, 0]), float(lines[i, 1]), power, scale)
        for i in (int(loss.argmin()), supported[0], supported[-1])
    )
    return Floors(best, lowest, highest)


def hardness_by_class(margin: FloatArray, disagrees: BoolArray, best: IntArray, whole: HardSamples) -> HardSamples:
    """The most likely floors and rates, for each class on its own: some may have more wrong labels than others.

    Args:
        margin: (N,) as in `fit_floors`.
        disagrees: (N,) as in `fit_floors`.
        best: (N,) the best supported class. Classes of fewer than `MIN_CLASS` samples are taken together.
        whole: the same of all classes together.
    """
    group = np.where(np.bincount(best)[best] >= MIN_CLASS, best, -1)
    groups = np.unique(group)
    if len(groups) == 1:
        return whole
    floor, rate = np.zeros(len(margin)), np.zeros(len(margin))
    for here in (group == value for value in groups):
        found = fit_floors(margin[here], disagrees[here]).best.of(margin[here])
        floor[here], rate[here] = found.floor, found.rate
    return HardSamples(floor, rate, len(groups))


def _fit_lines(x: FloatArray, hits: FloatArray, size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Intercept and slope (F, 2) for each of `FLOORS`, by Fisher scoring, and minus the log likelihood (F,)."""
    e, line = FLOORS[:, None], np.tile([0.0, 1.0], (len(FLOORS), 1))

    def rates() -> tuple[FloatArray, FloatArray]:
        hard = expit(-(line[:, :1] + line[:, 1:] * x))
        return hard, np.clip(e + (1 - e) * hard, 1e-9, 1 - 1e-9)

    for _ in range(STEPS):
        hard, p = rates()
        change = (1 - e) * hard * (1 - hard)  # of p by the line, with the sign turned
        score = -(hits / p - (size - hits) / (1 - p)) * change
        weight = size * change**2 / (p * (1 - p))
        gradient = np.stack([score.sum(1), (score * x).sum(1)], 1)
        moments = [(weight * x**power).sum(1) for power in range(3)]
        information = np.stack([np.stack(moments[:2], 1), np.stack(moments[1:], 1)], 1)
        step = np.linalg.solve(information + 1e-9 * size.sum() * np.eye(2), gradient[..., None])[..., 0]
        for held, free, is_held in (  # at the end of its range, where it would go beyond
            (1, 0, (line[:, 1] <= MIN_SLOPE) & (step[:, 1] < 0)),
            (0, 1, (line[:, 0] >= 0) & (step[:, 0] > 0)),
        ):
            step[is_held, free] = gradient[is_held, free] / (moments[2 * free][is_held] + 1e-9 * size.sum())
            step[is_held, held] = 0
        line = line + step / np.maximum(1, np.abs(step).max(1, keepdims=True))
        line = np.clip(line, [-50, MIN_SLOPE], [0, 50])
    _, p = rates()
    return line, -(hits * np.log(p) + (size - hits) * np.log1p(-p)).sum(1)
