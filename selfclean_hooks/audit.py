"""`Audit`, and the functions that make one: `audit` of a data set, `audit_embeddings` of vectors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import ContaminationError, DataWarning, SettingError
from selfclean_hooks.policy import Decisions, Policy, decide
from selfclean_hooks.reading_settings import Precision, Reading
from selfclean_hooks.scores import Scores, as_labels, as_vectors, listing, spread
from selfclean_hooks.thresholds import ISSUES, Thresholds

if TYPE_CHECKING:
    import pandas as pd

    from selfclean_hooks.baseline import Baseline
    from selfclean_hooks.embed import Embeddings
    from selfclean_hooks.fitness import Fitness
    from selfclean_hooks.gate import Limits, Verdict


@dataclass(frozen=True, eq=False)
class Audit:
    """What was measured, and what follows from it under `thresholds` and `policy`. Nothing in it changes.

    Attributes:
        scores: the arrays everything else is derived from.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        provenance: data set, encoder, settings and versions, as in manifest.json.
        names: what the samples are called (file paths), where they are called anything.
        digests: what each sample contains, 32 hexadecimal digits, "" where unknown; None: not told.
        thumbnails: position: PNG bytes, of the worst samples; of what is no picture a preview (see previews.py).
        leak_thumbnails: (split, position): the same of samples of other splits.
    """

    scores: Scores
    thresholds: Thresholds = field(default_factory=Thresholds)
    policy: Policy = field(default_factory=Policy)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    leak_thumbnails: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    digests: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Number of samples audited."""
        return len(self.scores)

    @property
    def n(self) -> int:
        """Number of samples audited."""
        return len(self.scores)

    @cached_property
    def decisions(self) -> Decisions:
        """Flags, sets, actions and reasons as arrays."""
        return decide(self.scores, self.thresholds, self.policy, self.names)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a sample, indexed by its position in the data set; a new copy each time."""
        from selfclean_hooks.frames import frame_of

        return frame_of(self)

    @property
    def pairs(self) -> pd.DataFrame:
        """The closest pairs, worst score first: all below the threshold and at least N; a new copy each time."""
        from selfclean_hooks.frames import pairs_of

        return pairs_of(self)

    @property
    def duplicate_sets(self) -> pd.DataFrame:
        """The sets of near duplicates, one row a member, the kept copy of each set first; a new copy each time.

        Columns near_duplicate_set, index, is_kept, distance (to the kept copy), given_label,
        is_label_conflict (copies of the set carry different labels).
        """
        from selfclean_hooks.frames import duplicates_of

        return duplicates_of(self)

    @property
    def leakage(self) -> pd.DataFrame:
        """Pairs of samples of this and of another split, worst score first, of those flagged and of others the nearest.

        Columns split_1, index_1, split_2, index_2, distance, is_leakage_issue; no rows where no other split was given.
        """
        from selfclean_hooks.frames import leakage_of

        return leakage_of(self.scores.leaks, self.decisions.thresholds.get("leakage", -math.inf))

    @property
    def summary(self) -> pd.DataFrame:
        """One row an issue: issue, num_issues, contamination, threshold, action. NaN and "not run": it did not run."""
        from selfclean_hooks.frames import summary_of

        return summary_of(self)

    @property
    def contamination(self) -> dict[str, float]:
        """Issue: fraction of the N samples; absent where it did not run.

        Of near duplicates surplus copies only; of leakage those that have a near duplicate in another split.
        """
        ran = [issue for issue in self.scores.issues if issue not in self.scores.not_run]
        return {issue: float(self.decisions.counted(issue).mean()) for issue in ran}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Issue: Wilson's 95% interval of its contamination in all data like these N samples."""
        from selfclean_hooks.gate import wilson

        ran = self.contamination
        return {issue: wilson(int(self.decisions.counted(issue).sum()), len(self)) for issue in ran}

    @property
    def fitness(self) -> Fitness | None:
        """How the representation compares with random weights; None where too few samples or an older audit tell."""
        from selfclean_hooks.fitness import Fitness

        return Fitness.of(self.provenance.get("fitness"))

    @property
    def clean_indices(self) -> NDArray[np.int64]:
        """(K,) ascending positions of what the policy keeps.

        Raises:
            PolicyError: the policy would drop more than `max_drop_fraction` of the samples.
        """
        return self.decisions.clean_indices()

    def worst(self, issue: str) -> NDArray[np.int64]:
        """Positions of the samples that count for `issue`, worst first."""
        return self.ranked(issue, self.decisions.counted(issue).nonzero()[0])

    def ranked(self, issue: str, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions in order of their scores for `issue`, worst first."""
        leaks = self.scores.leaks
        if issue in ISSUES:
            positions = positions[np.argsort(self.scores.of(issue)[positions], kind="stable")]
        elif issue == "leakage" and leaks is not None:
            positions = positions[np.argsort(leaks.worst[positions], kind="stable")]
        return positions

    def ranking(self, issue: str) -> pd.DataFrame:
        """All samples scored for near_duplicates, off_topic or label_errors, worst first: for review from the top.

        Columns index, score, is_issue, probability (that it is an issue) and expected_found (how many of the estimated
        issues are seen down to here); the last two are NaN where the method estimates no probabilities. After
        `calibration.clean_in_a_row()` fine samples in a row the rest may be left.

        Raises:
            SettingError: there is no such issue, or it did not run.
        """
        from selfclean_hooks.frames import ranking_of

        return ranking_of(self, issue)

    @property
    def calibration(self) -> pd.DataFrame:
        """One row an issue whose probabilities were estimated: what the flags are worth, and what there may be beside.

        Columns issue, num_issues (flagged), precision (share of the flags that are estimated to be right), estimated
        (issues in all the data), estimated_low and estimated_high (95% interval), recall (share of them flagged) and
        inspect_for_90 (samples to look at, from the worst, to see 90% of them). For near duplicates these are samples
        that have a near duplicate, kept copies included.
        """
        from selfclean_hooks.frames import calibration_of

        return calibration_of(self)

    def at(self, *, thresholds: Thresholds | None = None, policy: Policy | None = None) -> Audit:
        """The same measurements under other thresholds or another policy; costs nothing.

        Raises:
            SettingError: the near-duplicate threshold lies above the pairs that were kept.
        """
        other = replace(self, thresholds=thresholds or self.thresholds, policy=policy or self.policy)
        complete, known = self.scores.pairs_complete_below, other.thresholds.near_duplicates == "auto"
        cut = 0.0 if known else other.decisions.thresholds["near_duplicates"]
        if cut > max(complete, _listed_below(self.thresholds)):
            raise SettingError(
                f"pairs were kept up to a score of {complete:.4g}, so the threshold {cut:g} for near_duplicates cannot "
                f"be applied to them: run the audit again with thresholds=Thresholds(near_duplicates={cut:g})"
            )
        return other

    def check(self, limits: Limits | None = None, baseline: Baseline | str | Path | None = None) -> Verdict:
        """Whether the contamination is within `limits`; findings in `baseline`, or in that file, do not count.

        With a baseline and no limit, no finding beside it is tolerated.

        Raises:
            AuditFileError: the file cannot be read.
        """
        from selfclean_hooks.baseline import Baseline
        from selfclean_hooks.gate import Limits, check

        return check({"": self}, {"": limits or Limits()}, Baseline.given(baseline))

    def enforce(self) -> None:
        """Warn or raise where the policy says so.

        Raises:
            ContaminationError: samples were flagged for an issue whose policy is "raise".
        """
        for issue, fraction in self.contamination.items():
            action, hits = self.policy.action(issue), self.worst(issue)
            if len(hits) == 0 or action not in ("warn", "raise"):
                continue
            text = f"{len(hits)} of {len(self)} samples ({fraction:.2%}) flagged for {issue}; worst: {listing(hits)}"
            if action == "raise":
                raise ContaminationError(text + f". The policy for {issue} is 'raise'")
            warnings.warn(text, DataWarning, stacklevel=3)

    def save(self, folder: str | Path) -> None:
        """Write manifest.json, samples.csv, pairs.csv, clean_indices.txt, scores.npz and report.html into `folder`.

        Where other splits were given, leakage.csv too.

        Raises:
            AuditFileError: the folder cannot be written.
            PolicyError: the policy would drop too much; everything but clean_indices.txt is written first.
        """
        from selfclean_hooks.storage import save

        save(self, Path(folder))

    @staticmethod
    def load(folder: str | Path) -> Audit:
        """Read what `save` wrote.

        Raises:
            AuditFileError: the folder is no saved audit, is damaged, or is of another version.
        """
        from selfclean_hooks.storage import load

        return load(Path(folder))

    def to_html(self, path: str | Path) -> None:
        """Write the report, one self-contained HTML file."""
        from selfclean_hooks.report.html import render
        from selfclean_hooks.storage import write

        write(Path(path), render(self).encode())

    def described(self, name: str, class_names: tuple[str, ...] | None = None, notes: Iterable[str] = ()) -> Audit:
        """The same audit with the name of its source, names for its class codes and notes."""
        data = {**self.provenance.get("dataset", {}), "name": name}
        about = {**self.provenance, "dataset": data, "notes": [*notes, *self.provenance.get("notes", ())]}
        scores = replace(self.scores, class_names=class_names or self.scores.class_names)
        return replace(self, scores=scores, provenance=about)


def audit_embeddings(
    vectors: Any,
    labels: Any = None,
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    progress: bool = False,
) -> Audit:
    """Audit embeddings that are there already.

    Args:
        vectors: (N, D) float array or tensor, finite, N >= 2; rows are scaled to unit length, the input is left alone.
            A zero row lies at distance 0.5 from everything.
        labels: (N,) classes as integers or words, or None.
        method: "default", or "selfclean" for the scores of the paper.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        progress: show a progress bar.

    Returns:
        The Audit, its indices being rows of `vectors`.

    Raises:
        DataError: vectors or labels cannot be audited; says which rows and why.
        SettingError: method, thresholds or policy make no sense.
    """
    from selfclean_hooks.fitness import fitness_of_given
    from selfclean_hooks.progress import bar
    from selfclean_hooks.provenance import fingerprint, provenance
    from selfclean_hooks.scoring import score, warn_of_missing_pairs

    thresholds, policy = checked_settings(method, thresholds, policy)
    array = as_vectors(vectors)
    codes, names = as_labels(labels, len(array))
    zero = np.concatenate([~array[s : s + 4096].any(1) for s in range(0, len(array), 4096)]).nonzero()[0]
    if len(zero):
        warnings.warn(
            f"{len(zero)} of {len(array)} embeddings are zero, index {listing(zero)}: they have no direction and are "
            "put at distance 0.5 from everything",
            DataWarning,
            stacklevel=2,
        )
    with bar("comparing", progress) as tick:
        scores = score(array, codes, method=method, pairs_below=_listed_below(thresholds), tick=tick)
    warn_of_missing_pairs(scores, thresholds)
    scores = replace(scores, class_names=names)
    digests = tuple(fingerprint(row) for row in array)
    fitness = fitness_of_given(array, codes, digests)
    about = provenance({"fingerprint": fingerprint(array, codes)}, None, method, thresholds, policy, fitness=fitness)
    return Audit(scores, thresholds, policy, about, digests=digests)


def audit(
    dataset: Any,
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    device: str = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    labels: Any = None,
    precision: Precision = "32",
    compile: bool = False,
) -> Audit:
    """Embed a data set and audit it for near duplicates, off-topic samples and label errors.

    Args:
        dataset: any map-style data set; items as tuple, dict, dataclass or alone; pictures as PIL image, array or
            tensor, and for a callable backbone also text, sound, signals or rows. Random augmentation is bypassed on
            copies: the data set itself is left as it is.
        backbone: "auto", "self-supervised", a timm name, an nn.Module, or a callable from a batch to (B, D). Modules
            and callables get what torch's default_collate makes of a batch: of pictures (B, C, H, W) floats in [0, 1]
            (uint8 is divided by 255), of arrays, tensors and lists of numbers a tensor, of text a list of str, of
            dicts a dict of batches. A callable gets a list of tensors where (T,) or (C, T) differ in length.
        method: "default", or "selfclean" for the scores of the paper.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        device: "auto", or a torch device.
        batch_size: samples per forward pass.
        num_workers: processes that read the data set.
        seed: of whatever is random (self-supervised training). Global random state is left as it was.
        cache_dir: where embeddings are kept between runs, by content and encoder (a function's never are), or None.
        progress: show progress bars.
        labels: (N,) classes as integers or words; default: those in the items.
        precision: of the forward pass: "32" as the model has it, "bf16" or "16" for torch's autocast.
        compile: compile the model with torch.compile, which takes a while and pays for many samples.

    Returns:
        The Audit, its indices being positions in `dataset`.

    Raises:
        DataError: the data set or the labels cannot be audited.
        BackboneError: no features can be had from the backbone.
        SettingError: a setting makes no sense.
    """
    from selfclean_hooks.embed import embed
    from selfclean_hooks.thumbnails import thumbnails

    thresholds, policy = checked_settings(method, thresholds, policy)
    reading = Reading(device, batch_size, num_workers, seed, cache_dir, progress, precision, compile)
    e = embed(dataset, backbone, reading, labels=labels)
    found = audit_of(e, method, thresholds, policy, progress)
    return replace(found, thumbnails=thumbnails(found, dataset))


def audit_of(
    embeddings: Embeddings,
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    progress: bool = False,
) -> Audit:
    """Score what `embed` read; without thumbnails."""
    from selfclean_hooks.fitness import rank_me
    from selfclean_hooks.progress import bar
    from selfclean_hooks.provenance import provenance
    from selfclean_hooks.scoring import score, warn_of_missing_pairs

    e = embeddings
    vectors, readable = as_vectors(e.vectors), e.readable
    codes = None if e.labels is None else e.labels[readable]
    with bar("comparing", progress) as tick:
        scores = score(
            vectors,
            codes,
            method=method,
            pairs_below=_listed_below(thresholds),
            why_no_labels=e.why_no_labels,
            tick=tick,
        )
    warn_of_missing_pairs(scores, thresholds)
    scores = spread(scores, readable, e.n, errors=e.errors, class_names=e.class_names)
    scores = replace(scores, pixels=e.pixels)
    doubts = e.fitness.doubts() if e.fitness is not None else ()
    for doubt in doubts:
        warnings.warn(doubt, DataWarning, stacklevel=3)
    encoder, notes = {**e.encoder, "rank_me": rank_me(vectors)}, (*e.notes, *doubts)
    about = provenance(e.data, encoder, method, thresholds, policy, notes, e.fitness)
    return Audit(scores, thresholds, policy, about, e.names, digests=e.keys or None)


def checked_settings(method: str, thresholds: Thresholds | None, policy: Policy | None) -> tuple[Thresholds, Policy]:
    """The settings with defaults filled in; refused before any work is done."""
    from selfclean_hooks.detectors import METHODS

    if method not in METHODS:
        raise SettingError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    thresholds = Thresholds() if thresholds is None else thresholds
    policy = Policy() if policy is None else policy
    for value, wanted in ((thresholds, Thresholds), (policy, Policy)):
        if not isinstance(value, wanted):
            name = wanted.__name__
            raise SettingError(f"{name.lower()} must be a {name}, as {name}(near_duplicates=...), got {value!r}")
    return thresholds, policy


def _listed_below(thresholds: Thresholds) -> float:
    cut = thresholds.near_duplicates
    return float(cut) if isinstance(cut, Real) else 0.0
