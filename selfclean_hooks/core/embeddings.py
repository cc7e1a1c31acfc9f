"""Embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.labels import Labels


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of the R readable samples of n, and what was learned of the data set while reading it."""

    vectors: NDArray[np.float32]  # (R, D), in order of position
    n: int
    errors: Mapping[int, str]  # position: why it could not be read
    labels: Labels | None  # n of them
    why_no_labels: str
    class_names: tuple[str, ...] | None
    names: tuple[str, ...] | None  # file behind each sample, "" where unknown
    digests: tuple[str, ...]  # of the content of each sample, "" where it could not be read
    data: Mapping[str, Any]  # for the manifest
    encoder: Mapping[str, Any]  # for the manifest
    notes: tuple[str, ...]
    keys: tuple[str, ...] = ()  # (n,) what each sample is called for good: see keys.py; "" unreadable without a file
    pixels: NDArray[np.int64] | None = None  # (n,) width x height, -1 unknown; None: no sample is a picture
    fitness: RepresentationQuality | None = None  # None: too few samples to tell, or not asked for

    @property
    def readable(self) -> NDArray[np.int64]:
        """(R,) positions of the samples that could be read."""
        return np.setdiff1d(np.arange(self.n), list(self.errors))


# of random weights' centred RankMe. Measured on healthy encoders: 0.3 to 2, after one epoch to convergence; on
# features that are left with two dimensions: 0.03. Trained features often have a lower rank than random ones.
COLLAPSE_RATIO = 1 / 8
CONSTANT_RANK = 1.1  # RankMe of raw features, 1 where they are constant


@dataclass(frozen=True)
class QualityFigures:
    """What was measured of one representation.

    Attributes:
        rank: RankMe of the raw features over min(N, D), in (0, 1].
        centred_rank: the same once their mean is taken away; 0 where nothing is left.
        agreement: share of the 10 nearest neighbours (cosine) that carry the sample's own label, in [0, 1], the mean
            over the samples; None without labels or with one class only. A class of a few samples cannot fill 10
            places, so it is to be compared, with `RepresentationQuality.random` or `RepresentationQuality.chance`.
    """

    rank: float
    centred_rank: float
    agreement: float | None = None


@dataclass(frozen=True)
class RepresentationQuality:
    """How a representation compares with the same network with random weights.

    Attributes:
        samples: N, how many the figures are of: distinct contents, no copies among them.
        dimensions: D, of the features.
        own: of the representation.
        random: of the network with random weights, on the same samples; None where there is no network or no weight.
        chance: agreement to be expected of neighbours drawn at random; None without labels or with one class only.
        gain_error: standard error of how much `own.agreement` is above `random.agreement`, pairwise by sample.
    """

    samples: int
    dimensions: int
    own: QualityFigures
    random: QualityFigures | None = None
    chance: float | None = None
    gain_error: float | None = None

    @classmethod
    def of(cls, told: Any) -> RepresentationQuality | None:
        """What `asdict` made of one, as a manifest holds it; None for anything else."""
        if not isinstance(told, Mapping):
            return None
        try:
            own, other = QualityFigures(**told["own"]), told["random"]
            return cls(**{**told, "own": own, "random": None if other is None else QualityFigures(**other)})
        except (KeyError, TypeError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    def describe(self) -> str:
        """In one line."""
        (own, other), most = (self.own, self.random), min(self.samples, self.dimensions)
        ranks, labels = f"RankMe {own.rank:.1%} of {most}", ""
        ranks += f" ({other.rank:.1%} with random weights)" if other is not None else ""
        if own.agreement is not None:
            known = other is not None and other.agreement is not None
            beside = f"{other.agreement:.1%} with random weights, " if other is not None and known else ""
            labels = f"neighbours of the same label {own.agreement:.1%} ({beside}{self.chance:.1%} by chance), "
        return f"representation, of {self.samples} samples: {labels}{ranks}"

    def warnings(self) -> tuple[str, ...]:
        """Why audits with this representation may not find much, in sentences; nothing where that cannot be told.

        - Labels: neighbours agree no better than with random weights (within one standard error), and not even half
          way from chance to 1. Where they do, audits work even if random weights serve as well.
        - Collapse: the centred rank is below an eighth of that of random weights; or the raw features are all but
          constant and those of random weights are not. A lower rank alone is normal for trained features.
        """
        return tuple(filter(None, (self._label_doubt(), self._rank_doubt())))

    def _label_doubt(self) -> str:
        own, other = self.own.agreement, None if self.random is None else self.random.agreement
        if own is None or other is None or self.chance is None or self.gain_error is None:
            return ""
        if own - other > self.gain_error or own - self.chance >= (1 - self.chance) / 2:
            return ""
        return (
            f"the representation finds labels no better than random weights do: {own:.1%} of the nearest neighbours "
            f"carry a sample's own label, {other:.1%} with random weights ({self.samples} samples). What it says of "
            "label errors means little: train it further, choose another backbone, or see whether the samples show "
            "what the labels say"
        )

    def _rank_doubt(self) -> str:
        most, own, other = min(self.samples, self.dimensions), self.own, self.random
        if other is None:
            return ""
        constant = own.rank * most < CONSTANT_RANK and own.rank < COLLAPSE_RATIO * other.rank
        if not constant and own.centred_rank >= COLLAPSE_RATIO * other.centred_rank:
            return ""
        kind, mine, its = ("", own.rank, other.rank) if constant else (" centred", own.centred_rank, other.centred_rank)
        return (
            f"the representation has collapsed: RankMe of its{kind} features is {mine * most:.2f} of {most}, "
            f"{its * most:.2f} with random weights ({self.samples} samples). Samples are hard to tell apart: choose "
            "another backbone, or train this one otherwise"
        )
