"""Several splits audited with one encoder, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfclean_hooks.audit import Audit, audit_of, checked_settings
from selfclean_hooks.errors import BackboneError, DataError, SettingError
from selfclean_hooks.frames import leakage_of
from selfclean_hooks.leaks import Leaks
from selfclean_hooks.policy import Policy
from selfclean_hooks.thresholds import Thresholds

if TYPE_CHECKING:
    from selfclean_hooks.embed import Embeddings
    from selfclean_hooks.encoders import Encoder


@dataclass(frozen=True, eq=False)
class SplitsAudit:
    """The audits of several splits by one encoder.

    Attributes:
        audits: name: audit, the split that is trained on first. That one holds what it shares with the others.
        others: what the other splits share among each other.
    """

    audits: Mapping[str, Audit]
    others: tuple[Leaks, ...] = ()

    @property
    def leakage(self) -> pd.DataFrame:
        """Pairs of near duplicates in two splits: split_1, index_1, split_2, index_2, distance; worst first.

        One threshold decides on all of them, that for near duplicates of the split that is trained on. Listed are the
        nearest of every flagged sample in every other split, and up to 7 more where it has as many.
        """
        trained_on = next(iter(self.audits.values()))
        cut = trained_on.decisions.thresholds["near_duplicates"]
        tables = [leakage_of(leaks, cut) for leaks in (trained_on.scores.leaks, *self.others)]
        pairs = pd.concat([table[table["is_leakage_issue"]] for table in tables], ignore_index=True)
        found = pairs.drop(columns="is_leakage_issue").sort_values("distance", kind="stable")
        worst_first: pd.DataFrame = found.reset_index(drop=True)
        return worst_first


def audit_splits(
    splits: Mapping[str, Any],
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
    labels: Mapping[str, Any] | None = None,
) -> SplitsAudit:
    """Audit several splits and look for samples that two of them hold.

    "train", or else the first split, is taken to be the one that is trained on: its audit holds the issue `leakage`,
    and a self-supervised encoder is trained on it. Of the others nothing is dropped: "drop" becomes "warn".

    Args:
        splits: name: data set, at least two.
        backbone: as for `audit`, and so are all that follow; one encoder serves all splits.
        method: as for `audit`.
        thresholds: as for `audit`.
        policy: as for `audit`.
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

    thresholds, policy = checked_settings(method, thresholds, policy)
    ordered = _ordered(splits, labels or {})
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
    return _audited(ordered, embeddings, method, thresholds, policy, progress)


def _audited(
    datasets: Mapping[str, Any],
    embeddings: Mapping[str, Embeddings],
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    progress: bool,
) -> SplitsAudit:
    from selfclean_hooks.leakage import leaks_of, listed_below, with_leakage
    from selfclean_hooks.thumbnails import leak_thumbnails, thumbnails

    first, *rest = datasets
    dropping: dict[str, Any] = {issue: "warn" for issue, action in asdict(policy).items() if action == "drop"}
    only_warned = replace(policy, **dropping)
    audits = {}
    for name, found in embeddings.items():
        with _about(name):
            audits[name] = audit_of(found, method, thresholds, policy if name == first else only_warned, progress)
    others = {name: embeddings[name] for name in rest}
    audits[first] = with_leakage(audits[first], embeddings[first], others, first)
    below = listed_below(audits[first])
    among = [
        leaks_of(embeddings[name], {other: embeddings[other] for other in rest[at:]}, name, below)
        for at, name in enumerate(rest[:-1], 1)
    ]
    pictured = {name: replace(audit, thumbnails=thumbnails(audit, datasets[name])) for name, audit in audits.items()}
    shown = leak_thumbnails(audits[first], {name: datasets[name] for name in rest})
    pictured[first] = replace(pictured[first], leak_thumbnails=shown)
    return SplitsAudit(pictured, tuple(among))


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
