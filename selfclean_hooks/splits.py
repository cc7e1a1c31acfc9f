"""Several splits audited with one encoder: each by itself, what they share, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfclean_hooks.audit import Audit, audit_of, checked_settings
from selfclean_hooks.errors import BackboneError, DataError, SettingError
from selfclean_hooks.frames import label_texts
from selfclean_hooks.policy import Policy
from selfclean_hooks.thresholds import Thresholds

if TYPE_CHECKING:
    from selfclean_hooks.baseline import Baseline
    from selfclean_hooks.embed import Embeddings
    from selfclean_hooks.encoders import Encoder
    from selfclean_hooks.gate import Limits, Verdict

SHIFT = ("split_1", "split_2", "distance", "expected", "p_value", "components", "explained")
SHOWN = 8


@dataclass(frozen=True, eq=False)
class SplitsAudit:
    """The audits of several splits by one encoder.

    Attributes:
        audits: name: audit, the split that is trained on first. Each holds what it shares with the others.
        shift: one row a pair of splits: split_1, split_2, distance (squared Frechet distance in the embedding),
            expected (its median for random splits of the same samples), p_value, components, explained.
    """

    audits: Mapping[str, Audit]
    shift: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SHIFT)))

    @property
    def leakage(self) -> pd.DataFrame:
        """Pairs of near duplicates in two splits: split_1, index_1, split_2, index_2, distance; worst first.

        One threshold decides on all of them, that for near duplicates of the split that is trained on. Listed are the
        nearest of every flagged sample in every other split, and up to 7 more where it has as many.
        """
        names = list(self.audits)
        tables = []
        for at, audit in enumerate(self.audits.values()):
            table = audit.leakage
            later = table["split_2"].isin(names[at + 1 :])  # each pair is listed in both splits
            tables.append(table[table["is_leakage_issue"] & later])
        pairs = pd.concat(tables, ignore_index=True)
        found = pairs.drop(columns="is_leakage_issue").sort_values("distance", kind="stable")
        worst_first: pd.DataFrame = found.reset_index(drop=True)
        return worst_first

    @property
    def label_disagreements(self) -> pd.DataFrame:
        """The rows of `leakage` whose samples carry different labels, with label_1 and label_2."""
        pairs = self.leakage
        labels = {name: label_texts(audit.scores) for name, audit in self.audits.items() if has_labels(audit)}
        pairs = pairs[pairs["split_1"].isin(list(labels)) & pairs["split_2"].isin(list(labels))]
        for side in ("1", "2"):
            places = zip(pairs[f"split_{side}"], pairs[f"index_{side}"], strict=True)
            pairs = pairs.assign(**{f"label_{side}": pd.Series([labels[s][i] for s, i in places], pairs.index, object)})
        disagreeing: pd.DataFrame = pairs[pairs["label_1"] != pairs["label_2"]].reset_index(drop=True)
        return disagreeing

    def at(
        self, *, thresholds: Thresholds | None = None, policy: Policy | Mapping[str, Policy] | None = None
    ) -> SplitsAudit:
        """The same measurements under other thresholds or policies; costs nothing. See `Audit.at`."""
        policies = {} if policy is None else policies_of(policy, self.audits)
        audits = self.audits.items()
        decided = {name: audit.at(thresholds=thresholds, policy=policies.get(name)) for name, audit in audits}
        return replace(self, audits=decided)

    def check(self, limits: Limits | Mapping[str, Limits], baseline: Baseline | None = None) -> Verdict:
        """Whether every split is within its limits; findings in `baseline` do not count.

        Args:
            limits: the same for every split, or by name of the split (one left out has none).
            baseline: with one and no limit, no finding beside it is tolerated.

        Raises:
            SettingError: limits are given for a split that there is not.
        """
        from selfclean_hooks.gate import check

        by_split = limits if isinstance(limits, Mapping) else dict.fromkeys(self.audits, limits)
        return check(self.audits, by_split, baseline)

    def save(self, folder: str | Path) -> None:
        """Write a folder for each split as `Audit.save` does, leakage.csv, splits.json and report.html.

        Raises:
            AuditFileError: the folder cannot be written.
            PolicyError: a policy would drop too much; everything but that clean_indices.txt is written first.
        """
        from selfclean_hooks.split_storage import save

        save(self, Path(folder))

    @staticmethod
    def load(folder: str | Path) -> SplitsAudit:
        """Read what `save` wrote.

        Raises:
            AuditFileError: the folder holds no audit of splits, is damaged, or is of another version.
        """
        from selfclean_hooks.split_storage import load

        return load(Path(folder))


def audit_splits(
    splits: Mapping[str, Any],
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | Mapping[str, Policy] | None = None,
    device: str = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    labels: Mapping[str, Any] | None = None,
) -> SplitsAudit:
    """Audit several splits, look for samples that two of them hold, and measure how far they lie apart.

    "train", or else the first split, is taken to be the one that is trained on: a self-supervised encoder is trained on
    it, and only from it samples may be dropped. Where a policy for all splits says "drop", the others warn.

    Args:
        splits: name: data set, at least two.
        backbone: as for `audit`, and so are all that follow; one encoder serves all splits.
        method: as for `audit`.
        thresholds: as for `audit`.
        policy: as for `audit`, for all splits or by name; "drop" may be asked for by name only of the first.
        device: as for `audit`.
        batch_size: as for `audit`.
        num_workers: as for `audit`.
        seed: as for `audit`.
        cache_dir: as for `audit`.
        progress: as for `audit`.
        labels: name: labels of that split; default: those in the items.

    Raises:
        DataError: a split cannot be audited; says which.
        BackboneError: no features can be had from the backbone.
        SettingError: what is given are not at least two named splits, or a setting makes no sense.
    """
    from selfclean_hooks.embed import embed

    ordered = _ordered(splits, labels or {})
    policies = policies_of(policy, ordered)
    thresholds, _ = checked_settings(method, thresholds, None)
    encoder = _encoder(next(iter(ordered.values())), backbone, device, seed, progress)
    embeddings = {}
    for name, dataset in ordered.items():
        with _about(name):
            embeddings[name] = embed(
                dataset,
                encoder,
                labels=(labels or {}).get(name),
                device=device,
                batch_size=batch_size,
                num_workers=num_workers,
                seed=seed,
                cache_dir=cache_dir,
                progress=progress,
            )
    found = splits_of(embeddings, method, thresholds, policies, seed, progress)
    return _pictured(found, ordered)


def splits_of(
    embeddings: Mapping[str, Embeddings],
    method: str,
    thresholds: Thresholds,
    policies: Mapping[str, Policy],
    seed: int = 0,
    progress: bool = False,
) -> SplitsAudit:
    """Score what `embed` read of each split; without thumbnails. See `audit_splits`."""
    from selfclean_hooks.leakage import leaks_among, listed_below

    check_classes({name: classes_of(e.labels, e.class_names) for name, e in embeddings.items()})
    audits = {}
    for name, found in embeddings.items():
        with _about(name):
            audits[name] = audit_of(found, method, thresholds, policies[name], progress)
    first = next(iter(audits.values()))
    leaks = leaks_among(embeddings, listed_below(first), first.scores.automatic["near_duplicates"])
    audits = {name: replace(a, scores=replace(a.scores, leaks=leaks[name])) for name, a in audits.items()}
    return SplitsAudit(audits, _shift(embeddings, seed, progress))


def policies_of(policy: Policy | Mapping[str, Policy] | None, splits: Iterable[str]) -> dict[str, Policy]:
    """A policy for every split, the one that is trained on first.

    Raises:
        SettingError: there is no such split, or samples are to be dropped from another one than the first.
    """
    first, *rest = splits
    if not isinstance(policy, Mapping):
        _, policy = checked_settings("default", None, policy)
        return {first: policy, **dict.fromkeys(rest, policy.without_drops())}
    unknown = [name for name in policy if name not in (first, *rest)]
    if unknown:
        names = ", ".join([first, *rest])
        raise SettingError(f"policies must be given by the name of a split ({names}), got {unknown[0]!r}")
    policies = {name: checked_settings("default", None, policy.get(name))[1] for name in (first, *rest)}
    for name in rest:
        if policies[name] != policies[name].without_drops():
            raise SettingError(
                f"the policy of {name!r} says 'drop': samples are dropped only from the split that is trained on "
                f"({first!r}), results on others would no longer compare. Choose 'warn' or 'raise'"
            )
    return policies


def check_classes(classes: Mapping[str, frozenset[str] | None]) -> None:
    """See that no split has classes that the first one lacks; those without labels (None) are not compared.

    Raises:
        DataError: one has.
    """
    (first, known), *others = classes.items()
    for name, found in others:
        odd = sorted(found - known) if known is not None and found is not None else []
        if odd:
            told = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
            raise DataError(
                f"splits must have the same classes: {name!r} has {told}, and {first!r}, which is trained on, has none "
                f"of that name ({len(known or ())} classes). Rename the classes, or audit {name!r} by itself"
            )


def classes_of(labels: Any, class_names: tuple[str, ...] | None) -> frozenset[str] | None:
    """What the classes that samples carry are called; None where there are no labels."""
    if labels is None:
        return None
    codes = {int(code) for code in labels} - {-1}
    return frozenset(class_names[code] if class_names and code < len(class_names) else str(code) for code in codes)


def has_labels(audit: Audit) -> bool:
    """Whether samples carry labels."""
    return bool((audit.scores.given_label >= 0).any())


def _shift(embeddings: Mapping[str, Embeddings], seed: int, progress: bool) -> pd.DataFrame:
    from selfclean_hooks.progress import bar
    from selfclean_hooks.shift import shift

    rows = []
    for one, other in combinations(embeddings, 2):
        with bar(f"shift from {one} to {other}", progress) as tick:
            found = shift(embeddings[one].vectors, embeddings[other].vectors, seed=seed, tick=tick)
        rows.append({"split_1": one, "split_2": other, **asdict(found)})
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(SHIFT))
    return table


def _pictured(found: SplitsAudit, datasets: Mapping[str, Any]) -> SplitsAudit:
    from selfclean_hooks.thumbnails import leak_thumbnails, thumbnails

    audits = {}
    for name, audit in found.audits.items():
        others = {other: dataset for other, dataset in datasets.items() if other != name}
        shown = leak_thumbnails(audit, others)
        audits[name] = replace(audit, thumbnails=thumbnails(audit, datasets[name]), leak_thumbnails=shown)
    return replace(found, audits=audits)


def _ordered(splits: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """The splits, the one that is trained on first; refused before any work is done."""
    from selfclean_hooks.trees import check_map_style

    wanted = 'splits must be at least two data sets by name, as {"train": train, "val": val}'
    if not isinstance(splits, Mapping):
        raise SettingError(f"{wanted}, got {type(splits).__name__}")
    odd = [name for name in splits if not isinstance(name, str) or not name]
    if odd or len(splits) < 2:
        raise SettingError(f"{wanted}, got " + (f"the name {odd[0]!r}" if odd else f"{len(splits)} of them"))
    if not isinstance(labels, Mapping) or set(labels) - set(splits):
        came = sorted(set(labels) - set(splits)) if isinstance(labels, Mapping) else type(labels).__name__
        raise SettingError(f"labels must be given by the name of the split ({', '.join(splits)}), got {came}")
    for name, dataset in splits.items():
        with _about(name):
            check_map_style(dataset)
            if len(dataset) == 0:
                raise DataError("the data set is empty, and an audit compares samples: leave this split out")
    return {name: splits[name] for name in sorted(splits, key=lambda name: name != "train")}


@contextmanager
def _about(split: str) -> Iterator[None]:
    """Errors about one split say which."""
    try:
        yield
    except (DataError, BackboneError) as error:
        raise type(error)(f"split {split!r}: {error}") from error


def _encoder(dataset: Any, backbone: Any, device: str, seed: int, progress: bool) -> Encoder:
    """One for all splits, made for the one that is trained on."""
    from selfclean_hooks.backbones import resolve
    from selfclean_hooks.randomness import kept_rng
    from selfclean_hooks.reading import Pictures
    from selfclean_hooks.views import raw_view

    with kept_rng(dataset):
        return resolve(backbone, Pictures(raw_view(dataset).dataset), device=device, seed=seed, progress=progress)
