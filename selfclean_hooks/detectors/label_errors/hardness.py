"""How often hard samples disagree with their label, and how often wrong labels do.

A label may disagree with the best supported class because the sample is hard or because the label is wrong. The former
dies out where another class is near certain, the latter does not: it is the floor of the disagreement. So the rate of
disagreement of samples whose best class leads by a margin m is modelled as

    e + (1 - e) / (1 + exp(a + b m^k)),  a <= 0

with the floor e, whose likelihood is profiled over a and b: where no class leads, at least half of the labels
disagree. The power k is not known: k = 1 is the logistic regression that the supports were fitted by, a lower one lets
hard samples die out more slowly and leaves less to the floor.

Which labels disagree tells more: those of hard samples are distributed among the other classes as the support for
these, while a label that is wrong at random can be any. So the rate of the latter is known even where the support is so
weak that the floor may be hard samples. Labels that are wrong but plausible are not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax

from selfclean_hooks.detectors.label_errors.likelihood import MANY, LabelSupport
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

FLOORS = np.concatenate([np.arange(0, 0.02, 0.002), np.arange(0.02, 0.1, 0.005), np.arange(0.1, 0.72, 0.02)])
BINS, CLASS_BINS, BIN_SIZE = 60, 20, 8  # of equally many samples, of all and of a class; at least 8 each
# b, of a margin in nats: supports are log probabilities, and where labels are right b is 0.6 to 1.2. Of fewer than
# `MANY` samples it is less, in proportion, by degrees from the first of these rates of disagreement to the second
MIN_SLOPE, AGREED = 0.7, (0.1, 0.2)
STEPS = 30  # of Newton's method, and of expectation-maximisation
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


@dataclass(frozen=True, eq=False)
class Floors:
    """The fit of hardness for each of `FLOORS`, and which of these the data support."""

    line: FloatArray  # (F, 2) intercepts and slopes
    loss: FloatArray  # (F,) minus the log likelihood
    power: float
    scale: float

    @property
    def best(self) -> Hardness:
        """The most likely floor."""
        return self._fit(int(self.loss.argmin()))

    @property
    def lowest(self) -> Hardness:
        """The lowest floor that the data support."""
        return self._fit(int(self._supported[0]))

    @property
    def highest(self) -> Hardness:
        """The highest floor that the data support."""
        return self._fit(int(self._supported[-1]))

    def at(self, floor: float) -> Hardness:
        """That of `FLOORS` which is nearest to `floor`."""
        return self._fit(int(np.abs(FLOORS - floor).argmin()))

    @property
    def _supported(self) -> IntArray:
        return np.nonzero(self.loss - self.loss.min() <= SUPPORTED)[0]

    def _fit(self, place: int) -> Hardness:
        line = self.line[place]
        return Hardness(float(FLOORS[place]), float(line[0]), float(line[1]), self.power, self.scale)


def fit_floors(margin: FloatArray, disagrees: BoolArray, power: float = 1.0) -> Floors:
    """The floor of the disagreement, with a 95% interval by profile likelihood.

    Args:
        margin: (N,) >= 0, of the best supported class over the next, in nats.
        disagrees: (N,) whether the label is another class.
        power: k.
    """
    scale = max(float(margin.mean()), 1e-9)
    parts = _bins(np.argsort(margin, kind="stable"), BINS)
    return Floors(*_fit_lines(*_binned(parts, margin, disagrees, power, scale)), power, scale)


def _bins(rows: IntArray, most: int) -> list[IntArray]:
    """Parts of equally many rows, in order."""
    return np.array_split(rows, max(1, min(most, len(rows) // BIN_SIZE)))


def _binned(
    parts: list[IntArray], margin: FloatArray, disagrees: BoolArray, power: float, scale: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each part: mean of the margins to the power, how many disagree, and how many there are."""
    x = np.array([scale * ((margin[part] / scale) ** power).mean() for part in parts])
    hits = np.array([float(disagrees[part].sum()) for part in parts])
    return x, hits, np.array([len(part) for part in parts], np.float64)


def hardness_by_class(margin: FloatArray, disagrees: BoolArray, best: IntArray, floors: Floors) -> HardSamples:
    """Likely floors of each class, and one rate by margin for all: some classes may have more wrong labels.

    The line is that of `floors` with the highest likelihood if each class has a floor of its own. The floor of a class
    is then its posterior mean; the prior is the distribution of the floors of all classes, by maximum likelihood
    (Efron, "Large-Scale Inference", 2010): classes that are too few to tell are as the others are.

    Args:
        margin: (N,) as in `fit_floors`.
        disagrees: (N,) as in `fit_floors`.
        best: (N,) the best supported class. Classes of fewer than `MIN_CLASS` samples are taken together.
        floors: of all classes together.
    """
    groups, group = np.unique(np.where(np.bincount(best)[best] >= MIN_CLASS, best, -1), return_inverse=True)
    if len(groups) == 1:
        return floors.best.of(margin)
    rows = np.split(np.lexsort((margin, group)), np.cumsum(np.bincount(group))[:-1])
    parts = [_bins(part, CLASS_BINS) for part in rows]
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    x, hits, size = _binned([part for each in parts for part in each], margin, disagrees, floors.power, floors.scale)

    def log_likelihood(line: FloatArray) -> FloatArray:
        """(F, G) of each of `FLOORS` in each group."""
        p = np.clip(FLOORS[:, None] + (1 - FLOORS[:, None]) * expit(-(line[0] + line[1] * x)), 1e-9, 1 - 1e-9)
        return np.asarray(np.add.reduceat(hits * np.log(p) + (size - hits) * np.log1p(-p), starts, axis=1))

    place = max(range(len(FLOORS)), key=lambda i: float(log_likelihood(floors.line[i]).max(0).sum()))
    each = log_likelihood(floors.line[place])
    posterior = np.exp(each - each.max(0))
    likelihood, prior = posterior, np.full(len(FLOORS), 1 / len(FLOORS))
    for _ in range(STEPS):  # of expectation-maximisation
        posterior = prior[:, None] * likelihood
        posterior /= posterior.sum(0)
        prior = posterior.mean(1)
    rate = floors.at(float(FLOORS[place])).of(margin).rate
    return HardSamples((FLOORS @ posterior)[group], rate, len(groups))


TEMPERATURES = (0.7, 0.85, 1.0, 1.2)  # inverse ones, of the support for the other classes; the most likely is taken
CONFIDENT = 0.5  # quantile of the margins from which on the support for the other classes is trusted


class UniformNoise(NamedTuple):
    """Rate of labels that are wrong at random, as a fraction of all: the most likely one, and its lower 95% limit."""

    lowest: float
    best: float


NO_NOISE = UniformNoise(0.0, 0.0)


def uniform_noise(labels: LabelSupport, best: IntArray, margin: FloatArray, floors: Floors) -> UniformNoise:
    """By maximum likelihood of the labels that disagree, of which a fraction r / d is uniform over the other classes.

    d is the rate of disagreement at the margin of a sample; the other labels are distributed as the support.

    Args:
        labels: support of N samples for M classes each; the given label is the first listed.
        best: (N,) place of the best supported class.
        margin: (N,) by which that leads, in nats.
        floors: of the disagreement, of which r is a part.
    """
    seen = (best > 0) & (margin >= np.quantile(margin, CONFIDENT))
    if not seen.any():
        return NO_NOISE
    usual, rates = floors.best.of(margin[seen]), FLOORS[floors.highest.floor >= FLOORS]
    part = np.minimum(rates[:, None] / (usual.floor + (1 - usual.floor) * usual.rate), 1)
    others = labels.sharp[seen].astype(np.float64)
    others[np.arange(len(others)), best[seen]] = -np.inf
    support = np.stack([np.exp(log_softmax(t * others, axis=1)[:, 0]) for t in TEMPERATURES])
    even = 1 / max(1, int(labels.classes.max()))
    each = (
        np.log((1 - wrong) * support + wrong * even + 1e-12) for wrong in part
    )  # one rate at a time: they are large
    likelihood = np.array([float(fit.sum(1).max()) for fit in each])
    supported = np.nonzero(likelihood >= likelihood.max() - SUPPORTED)[0]
    lowest = float(rates[supported[0]])
    return UniformNoise(lowest, float(rates[likelihood.argmax()])) if lowest > 0 else NO_NOISE


def _fit_lines(x: FloatArray, hits: FloatArray, size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Intercept and slope (F, 2) for each of `FLOORS`, by Fisher scoring, and minus the log likelihood (F,)."""
    e, line = FLOORS[:, None], np.tile([0.0, 1.0], (len(FLOORS), 1))
    few = min(1.0, float(size.sum()) / MANY)
    least = MIN_SLOPE * float(np.interp(hits.sum() / size.sum(), AGREED, (1, few)))

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
            (1, 0, (line[:, 1] <= least) & (step[:, 1] < 0)),
            (0, 1, (line[:, 0] >= 0) & (step[:, 0] > 0)),
        ):
            step[is_held, free] = gradient[is_held, free] / (moments[2 * free][is_held] + 1e-9 * size.sum())
            step[is_held, held] = 0
        line = line + step / np.maximum(1, np.abs(step).max(1, keepdims=True))
        line = np.clip(line, [-50, least], [0, 50])
    _, p = rates()
    return line, -(hits * np.log(p) + (size - hits) * np.log1p(-p)).sum(1)
