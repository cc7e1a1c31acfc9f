"""Embeddings of a data set, the quality of the representation, and evidence beside findings: neighbours and a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.labels import Labels

# Centred RankMe over that with random weights. Measured on healthy encoders, from one epoch to convergence: 0.3 to 2;
# on features of two remaining dimensions: 0.03. Trained features often have a lower rank than random ones.
COLLAPSE_RATIO = 1 / 8
CONSTANT_RANK = 1.1  # RankMe of raw features, 1 if they are constant


@dataclass(frozen=True)
class QualityFigures:
    """Measurements of one representation.

    Attributes:
        rank: RankMe of the raw features over min(N, D), in (0, 1].
        centred_rank: the same of the centred features; 0 if these are constant.
        agreement: k-NN label agreement: fraction of the 10 nearest neighbours (cosine) with the sample's own label, in
            [0, 1], mean over the samples; None without labels or with one class only. Classes of fewer than 11 samples
            cannot reach 1, so compare it with `RepresentationQuality.random` or `RepresentationQuality.chance`.
    """

    rank: float
    centred_rank: float
    agreement: float | None = None


@dataclass(frozen=True)
class RepresentationQuality:
    """How a representation compares with the same network with random weights.

    Attributes:
        samples: N, number of samples measured: distinct contents, without copies.
        dimensions: D of the features.
        own: figures of the representation.
        random: those of the network with random weights on the same samples; None without a network or weights.
        chance: expected agreement of neighbours drawn at random; None without labels or with one class only.
        gain_error: standard error of `own.agreement - random.agreement`, paired by sample.
    """

    samples: int
    dimensions: int
    own: QualityFigures
    random: QualityFigures | None = None
    chance: float | None = None
    gain_error: float | None = None

    @classmethod
    def from_dict(cls, values: Any) -> RepresentationQuality | None:
        """The inverse of `as_dict`; None for anything else."""
        if not isinstance(values, Mapping):
            return None
        try:
            own, other = QualityFigures(**values["own"]), values["random"]
            return cls(**{**values, "own": own, "random": None if other is None else QualityFigures(**other)})
        except (KeyError, TypeError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    def describe(self) -> str:
        """In one line."""
        (own, other), most = (self.own, self.random), min(self.samples, self.dimensions)
        ranks, labels = f"RankMe {own.rank:.1%} of {most}", ""
        ranks += f" (random weights {other.rank:.1%})" if other is not None else ""
        if own.agreement is not None and self.chance is not None:
            known = other is not None and other.agreement is not None
            reference = f"random weights {other.agreement:.1%}, " if other is not None and known else ""
            labels = f"k-NN label agreement {own.agreement:.1%} ({reference}chance {self.chance:.1%}), "
        return f"representation quality ({self.samples} samples): {labels}{ranks}"

    def warnings(self) -> tuple[str, ...]:
        """Why audits with this representation may find little; empty where there is nothing to compare with.

        - Labels: neighbours agree no better than with random weights (within one standard error), and not even half
          way from chance to 1. Where they do, audits work even if random weights serve as well.
        - Collapse: the centred rank is below an eighth of that of random weights; or the raw features are all but
          constant and those of random weights are not. A lower rank alone is normal for trained features.
        """
        return tuple(filter(None, (self._label_warning(), self._rank_warning())))

    def doubts(self, earlier: RepresentationQuality | None) -> tuple[str, ...]:
        """Why what an earlier audit found is not to be replaced: the warnings, or labels shown less than half as well.

        How well: the agreement of neighbours above `chance`, compared where both audits know it.
        """
        before, now = None if earlier is None else earlier.own.agreement, self.own.agreement
        if before is None or now is None or self.chance is None or now - self.chance >= (before - self.chance) / 2:
            return self.warnings()
        return (
            *self.warnings(),
            f"{now:.1%} of the nearest neighbours carry a sample's own label, {before:.1%} did in the last audit",
        )

    def _label_warning(self) -> str:
        own, other = self.own.agreement, None if self.random is None else self.random.agreement
        if own is None or other is None or self.chance is None or self.gain_error is None:
            return ""
        if own - other > self.gain_error or own - self.chance >= (1 - self.chance) / 2:
            return ""
        return (
            f"the representation separates labels no better than random weights: {own:.1%} of the nearest neighbours "
            f"carry a sample's own label, {other:.1%} with random weights ({self.samples} samples). Its label errors "
            "are unreliable: train it further, choose another backbone, or check whether the samples show what the "
            "labels say"
        )

    def _rank_warning(self) -> str:
        most, own, other = min(self.samples, self.dimensions), self.own, self.random
        if other is None:
            return ""
        constant = own.rank * most < CONSTANT_RANK and own.rank < COLLAPSE_RATIO * other.rank
        if not constant and own.centred_rank >= COLLAPSE_RATIO * other.centred_rank:
            return ""
        kind, mine, its = ("", own.rank, other.rank) if constant else (" centred", own.centred_rank, other.centred_rank)
        return (
            f"the representation has collapsed: RankMe of its{kind} features is {mine * most:.2f} of {most}, "
            f"{its * most:.2f} with random weights ({self.samples} samples). Samples are hardly distinguishable: "
            "choose another backbone, or train this one differently"
        )


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of the R readable samples of n, and what reading the data set recorded."""

    vectors: NDArray[np.float32]  # (R, D), in order of position
    n: int
    errors: Mapping[int, str]  # position -> why it could not be read
    labels: Labels | None  # of all n samples
    why_no_labels: str
    class_names: tuple[str, ...] | None
    names: tuple[str, ...] | None  # file behind each sample, "" where unknown
    digests: tuple[str, ...]  # of the content of each sample, "" where it could not be read
    data: Mapping[str, Any]  # for the manifest
    encoder: Mapping[str, Any]  # for the manifest
    notes: tuple[str, ...]
    keys: tuple[str, ...] = ()  # (n,) stable sample identifiers; "" unreadable without a file
    pixels: NDArray[np.int64] | None = None  # (n,) width x height, -1 unknown; None: no sample is an image
    miniatures: NDArray[np.uint8] | None = None  # (R, 32, 32, 3) RGB; None: not all samples are images
    statistics: NDArray[np.float32] | None = None  # (n, 6) of images, see `image_statistics`; None: not measured
    fitness: RepresentationQuality | None = None  # None: too few samples, or not requested
    encoder_file: bytes = b""  # of a small encoder trained by this package: what `--backbone FILE` reads
    groups: tuple[str, ...] = ()  # (n,) the group of each sample, "" for none; (): there are no groups
    device: str = "cpu"  # of torch, that embedded: there they are compared

    @property
    def readable(self) -> NDArray[np.int64]:
        """(R,) positions of the samples that could be read."""
        return np.setdiff1d(np.arange(self.n), list(self.errors))


MAX_OFF_TOPIC_NEIGHBORS = 4  # neighbours of a sample that looks off topic
MAX_CLASS_NEIGHBORS = 3  # of the given and of the predicted class
Positions = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is shown beside a finding: its neighbours, and its position among all samples.

    Attributes:
        off_topic: position -> its nearest samples, up to 4, nearest first; no exact copies of it or of each other.
        labels: position -> its nearest samples of the given and of the predicted class, up to 3 each, likewise; none of
            the predicted class where that is the given one. For targets: its nearest samples, and none.
        map: (N, 2) float32, a projection of the embeddings, both axes scaled to [0, 1]; NaN: unreadable.
        projection: how the map was made, "t-SNE" or "PCA" (older audits: "UMAP"); "" without one.
    """

    off_topic: Mapping[int, Positions]
    labels: Mapping[int, tuple[Positions, Positions]]
    map: NDArray[np.float32] | None
    projection: str

    def neighbors(self) -> set[int]:
        """All neighbours."""
        of_labels = (places for both in self.labels.values() for places in both)
        return {i for places in (*self.off_topic.values(), *of_labels) for i in places}
