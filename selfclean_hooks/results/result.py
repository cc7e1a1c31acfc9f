"""`AuditResult`: the measurements and what is derived from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import wilson
from selfclean_hooks.core.embeddings import RepresentationQuality
from selfclean_hooks.core.issues import BY_NAME, SCORED, WITH_THRESHOLD
from selfclean_hooks.core.scores import Scores, label_texts
from selfclean_hooks.decisions.decide import Decisions, decide
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.decisions.settings import Policy, Thresholds, required_pair_score
from selfclean_hooks.errors import ContaminationError, DataWarning, PolicyError, SettingError
from selfclean_hooks.utils.text import listing

if TYPE_CHECKING:
    from selfclean_hooks.core.embeddings import Evidence

DECIDING = ("scores", "thresholds", "policy", "names", "digests", "review")  # fields that decisions depend on
A = TypeVar("A", bound="AuditResult")  # a function that returns a changed result keeps its class


@dataclass(frozen=True, eq=False)
class AuditResult:
    """The measurements, and what follows from them under `thresholds` and `policy`. Immutable.

    Attributes:
        scores: the arrays everything else is derived from.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        provenance: data set, encoder, settings and versions, as in manifest.json.
        names: of the samples (file paths), "" where unknown; None: there are none.
        digests: of the content of each sample, 32 hexadecimal digits, "" where unknown; None: not recorded.
        thumbnails: position: JPEG, PNG or WebP bytes of the worst samples; a preview (data/previews) of others.
        leak_thumbnails: (split, position): thumbnails of samples of other splits.
        evidence: neighbours of the findings that are shown and a map of all samples; None: not measured.
        review: what people decided about findings; None: nothing.
        encoder_file: a small encoder trained by this package, as `--backbone FILE` reads it; b"": another was used.
    """

    scores: Scores
    thresholds: Thresholds = field(default_factory=Thresholds)
    policy: Policy = field(default_factory=Policy)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    leak_thumbnails: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    digests: tuple[str, ...] | None = None
    evidence: Evidence | None = None
    review: Review | None = None
    encoder_file: bytes = b""

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
        return decide(self.scores, self.thresholds, self.policy, self.names, self.digests, self.review)

    @property
    def contamination(self) -> dict[str, float]:
        """Issue: fraction of the N samples; absent where it did not run.

        Near duplicates: surplus copies only; leakage: samples that have a near duplicate in another split.
        """
        return {issue: float(self.decisions.contamination_mask(issue).mean()) for issue in self.scores.ran}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Issue: Wilson's 95% interval of its contamination in all data like these N samples."""
        ran = self.contamination
        return {issue: wilson(int(self.decisions.contamination_mask(issue).sum()), len(self)) for issue in ran}

    @property
    def fitness(self) -> RepresentationQuality | None:
        """How the representation compares with random weights; None: too few samples, or an older audit."""
        return RepresentationQuality.from_dict(self.provenance.get("fitness"))

    @property
    def clean_indices(self) -> NDArray[np.int64]:
        """(K,) ascending positions of what the policy keeps.

        Raises:
            PolicyError: the policy would drop more than `max_drop_fraction` of the samples.
        """
        return self.decisions.clean_indices()

    @property
    def relabelled(self) -> dict[int, str]:
        """Position: new label that people gave."""
        return dict(self.decisions.relabelled)

    @property
    def new_labels(self) -> dict[int, str]:
        """Position: new label, by people or by the policy `label_errors="relabel"`."""
        return {**self.decisions.replaced, **self.decisions.relabelled}

    @property
    def corrected_labels(self) -> NDArray[Any]:
        """(N,) objects, the label of each sample as text, with corrections as in `new_labels`; "": none."""
        labels = np.array(label_texts(self.scores), object)
        if self.scores.targets is None:
            labels[self.scores.given_label < 0] = ""
        for i, label in self.new_labels.items():
            labels[i] = label
        return labels

    def worst(self, issue: str) -> NDArray[np.int64]:
        """Positions of the samples that count as contamination, worst first."""
        return self.ranked(issue, self.decisions.contamination_mask(issue).nonzero()[0])

    def ranked(self, issue: str, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions in order of their scores for `issue`, worst first."""
        if issue not in WITH_THRESHOLD:
            return positions
        return positions[np.argsort(self.scores.of(issue)[positions], kind="stable")]

    def at(self: A, *, thresholds: Thresholds | None = None, policy: Policy | None = None) -> A:
        """The same measurements under other thresholds or another policy; costs nothing.

        Raises:
            SettingError: the near-duplicate threshold lies above the pairs that were kept.
        """
        other = replace(self, thresholds=thresholds or self.thresholds, policy=policy or self.policy)
        complete, known = self.scores.pairs_complete_below, other.thresholds.near_duplicates == "auto"
        threshold = 0.0 if known else other.decisions.thresholds["near_duplicates"]
        if threshold > max(complete, required_pair_score(self.thresholds)):
            raise SettingError(
                f"pairs were kept up to a score of {complete:.4g}, so the threshold {threshold:g} for near_duplicates "
                f"cannot be applied to them: run the audit again with "
                f"thresholds=Thresholds(near_duplicates={threshold:g})"
            )
        return other

    def with_review(self: A, new: Review) -> A:
        """The same measurements with review decisions, added to those made before.

        Rejected findings are not flagged, whatever the threshold. Confirmed ones are, and are dropped whatever the
        policy. Relabelled samples are kept: see `relabelled` and `corrected_labels`. Thresholds that the
        reviewer moved are in force. Samples are matched by content, else by file, else by position (see
        `decisions/review/matching.py`); marks that match nothing are in `decisions.unmatched`.

        Args:
            new: the decisions; of marks about the same finding the later one counts.

        Raises:
            SettingError: the near-duplicate threshold lies above the pairs that were kept.
        """
        splits = ("", *(() if self.scores.leaks is None else self.scores.leaks.splits[:1]))
        moved: dict[str, Any] = {i: score for i, score in new.thresholds_of(*splits).items() if i in SCORED}
        whole = new if self.review is None else Review.merge((self.review, new))
        found = replace(self, review=whole)
        return found.at(thresholds=replace(self.thresholds, **moved)) if moved else found

    def annotated(self: A, **fields: Any) -> A:
        """The same audit, and the decisions made already, with other fields on which no decision depends."""
        other = replace(self, **fields)
        assert all(getattr(other, name) is getattr(self, name) for name in DECIDING), fields
        if "decisions" in vars(self):
            vars(other)["decisions"] = self.decisions  # where `cached_property` keeps them
        return other

    def enforce(self) -> None:
        """Warn or raise where the policy says so.

        Raises:
            ContaminationError: samples were flagged for an issue whose policy is "raise".
        """
        for issue in self.contamination:
            action, hits = self.policy.action(issue), self.worst(issue)
            hits = hits[~self.decisions.confirmed[hits]]  # these are dropped
            if len(hits) == 0 or action not in ("warn", "raise"):
                continue
            count, n = len(hits), len(self)
            text = f"{count} of {n} samples ({count / n:.2%}) flagged for {issue}; worst: {listing(hits)}"
            if action == "raise":
                raise ContaminationError(text + f". The policy for {issue} is 'raise'")
            warnings.warn(text, DataWarning, stacklevel=3)

    def described(
        self: A,
        name: str,
        class_names: tuple[str, ...] | None = None,
        notes: Iterable[str] = (),
        columns: Mapping[str, Any] | None = None,
    ) -> A:
        """The same audit with the name of its source and of its columns, names for its class codes and notes."""
        data = {**self.provenance.get("dataset", {}), "name": name, **({"columns": columns} if columns else {})}
        about = {**self.provenance, "dataset": data, "notes": [*notes, *self.provenance.get("notes", ())]}
        named = self if class_names is None else replace(self, scores=replace(self.scores, class_names=class_names))
        return named.annotated(provenance=about)


def turned_off(audit: AuditResult, issue: str) -> bool:
    """Whether nothing can be flagged for an issue, as its threshold is None; leakage has that of near duplicates."""
    return issue in WITH_THRESHOLD and getattr(audit.thresholds, BY_NAME[issue].threshold) is None


def sample_name(audit: AuditResult, i: int) -> str:
    """File and position of a sample, in words."""
    name = audit.names[i] if audit.names else ""
    return f"{name} ({i})" if name else listing(np.array([i]))


def metrics_of(audit: AuditResult) -> dict[str, float]:
    """What is followed from run to run: contamination per issue, kept fraction (unless refused) and RankMe."""
    kept, rank = kept_action(audit), (audit.provenance.get("encoder") or {}).get("rank_me")
    fraction = {} if kept is None else {"kept_fraction": kept / len(audit)}
    return {**audit.contamination, **fraction, **({} if rank is None else {"rank_me": float(rank)})}


def kept_action(audit: AuditResult) -> int | None:
    """How many samples the policy keeps; None where it would drop too much."""
    try:
        return len(audit.clean_indices)
    except PolicyError:
        return None
