"""Several splits audited with one encoder: each by itself, the leakage between them, and the shift between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from selfclean_hooks.audits.pipeline import audit_of, leakage_search_limit, led
from selfclean_hooks.audits.settings import AuditOptions, AuditSettings, audit_settings, unpack_options
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.groups import with_group_leakage
from selfclean_hooks.core.labels import check_same_classes, collect_class_names
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.decisions.settings import Policy, Thresholds, split_policies
from selfclean_hooks.errors import BackboneError, DataError, SettingError, SourceError
from selfclean_hooks.neighbors.split_shift import split_shift
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.text import bar

if TYPE_CHECKING:
    from selfclean_hooks.core.embeddings import Embeddings
    from selfclean_hooks.data.views.dataset_view import DatasetView
    from selfclean_hooks.embedding.encoders.encoder import Encoder
    from selfclean_hooks.utils.processes import Processes


@unpack_options
def audit_splits(
    splits: Mapping[str, Any],
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | Mapping[str, Policy] | None = None,
    **options: Unpack[AuditOptions],
) -> SplitsAudit:
    """Audit several splits, find samples that occur in two of them, and measure the shift between them.

    "train", or else the first split, is the training split: a self-supervised encoder is trained on it, and samples may
    only be dropped or relabelled there. Where a policy for all splits says so, the others warn.

    Args:
        splits: name: data set, at least two.
        backbone: as for `audit`; one encoder serves all splits.
        method: as for `audit`.
        thresholds: as for `audit`.
        policy: as for `audit`, for all splits or by name; by name, only the first may have "drop" or "relabel".
        **options: as for `audit`, except for:
        labels: name: labels of that split; default: those in the items.
        group_key: a name or function serves all splits; groups themselves are given as name: groups of that split.

    Raises:
        DataError: a split cannot be audited; says which.
        BackboneError: the backbone provides no usable features.
        SettingError: there are not at least two named splits, or a setting is not valid.
    """
    from selfclean_hooks.embedding.embed import embed_distributed
    from selfclean_hooks.utils.processes import Processes

    labels, processes = options.get("labels") or {}, Processes.in_force()
    settings = audit_settings(method, thresholds, None, options)
    views = processes.run_on_each(lambda: _opened(splits, labels, settings.embedding))
    policies = split_policies(policy, views)
    with patience(settings.embedding.timeout):
        encoder = _encoder(processes, next(iter(views.values())), backbone, settings.embedding)
        embeddings: dict[str, Any] = {}  # in the first process
        for name, view in views.items():
            with split_named(name):
                reading = replace(settings.embedding, group_key=_of_split(settings.embedding.group_key, name))
                embeddings[name] = embed_distributed(processes, view, encoder, reading, labels=labels.get(name))
            encoder = replace(encoder, file=b"")  # kept with the split that it was trained on

        def finished() -> SplitsAudit:
            return _with_thumbnails(splits_of(embeddings, settings, policies, tsne=True), views, settings.embedding)

        return led(settings.embedding.device, finished)


def _of_split(group_key: Any, name: str) -> Any:
    return group_key.get(name) if isinstance(group_key, Mapping) else group_key


def splits_of(
    embeddings: Mapping[str, Embeddings],
    settings: AuditSettings,
    policies: Mapping[str, Policy],
    tsne: bool = False,
) -> SplitsAudit:
    """Score what `embed` returned for each split; without thumbnails. See `audit_splits`.

    Args:
        embeddings: by name of the split, the training split first.
        settings: their policy is not used.
        policies: by name of the split.
        tsne: see `with_evidence`.
    """
    from selfclean_hooks.detectors.leakage import find_leakage
    from selfclean_hooks.neighbors.screening.device import screening_on

    check_same_classes({name: collect_class_names(e.labels, e.class_names) for name, e in embeddings.items()})
    audits = {}
    for name, split in embeddings.items():
        with split_named(name):
            audits[name] = audit_of(split, replace(settings, policy=policies[name]), tsne)
    first = next(iter(audits.values()))
    scales = {name: audit.scores.pair_scales for name, audit in audits.items()}
    automatic = first.scores.automatic["near_duplicates"]
    with screening_on(next(iter(embeddings.values())).device):
        leaks = find_leakage(embeddings, scales, leakage_search_limit(first), automatic)
    for name, one in audits.items():
        others = [each.groups for other, each in embeddings.items() if other != name]
        scores = with_group_leakage(one.scores, embeddings[name].groups, others)
        audits[name] = replace(one, scores=replace(scores, leaks=leaks[name]))
    return SplitsAudit(audits, _shifts(embeddings, settings.embedding))


@contextmanager
def split_named(split: str) -> Iterator[None]:
    """Name the split in errors about its data."""
    try:
        yield
    except (DataError, BackboneError, SourceError) as error:
        raise type(error)(f"split {split!r}: {error}") from error


def _shifts(embeddings: Mapping[str, Embeddings], settings: EmbeddingSettings) -> tuple[dict[str, Any], ...]:
    rows = []
    for one, other in combinations(embeddings, 2):
        with bar(f"shift from {one} to {other}", settings.progress) as tick:
            shift = split_shift(embeddings[one].vectors, embeddings[other].vectors, seed=settings.seed, tick=tick)
        rows.append({"split_1": one, "split_2": other, **asdict(shift)})
    return tuple(rows)


def _with_thumbnails(result: SplitsAudit, views: Mapping[str, DatasetView], settings: EmbeddingSettings) -> SplitsAudit:
    from selfclean_hooks.results.thumbnails import leak_thumbnails, thumbnails

    own = {name: thumbnails(audit, views[name], settings) for name, audit in result.audits.items()}
    known = {(name, i): content for name, part in own.items() for i, content in part.items()}
    audits = {}
    for name, audit in result.audits.items():
        others = {other: view for other, view in views.items() if other != name}
        known |= (leaked := leak_thumbnails(audit, others, settings, known))
        audits[name] = audit.annotated(thumbnails=own[name], leak_thumbnails=leaked)
    return SplitsAudit(audits, result.shifts)


def _opened(splits: Mapping[str, Any], labels: Mapping[str, Any], reading: EmbeddingSettings) -> dict[str, DatasetView]:
    """The splits, checked before any work starts, the training split first."""
    from selfclean_hooks.data.views.dataset_view import open_dataset

    wanted = 'splits must be at least two data sets by name, as {"train": train, "val": val}'
    if not isinstance(splits, Mapping):
        raise SettingError(f"{wanted}, got {type(splits).__name__}")
    odd = [name for name in splits if not isinstance(name, str) or not name]
    if odd or len(splits) < 2:
        raise SettingError(f"{wanted}, got " + (f"the name {odd[0]!r}" if odd else f"{len(splits)} of them"))
    if not isinstance(labels, Mapping) or set(labels) - set(splits):
        came = sorted(set(labels) - set(splits)) if isinstance(labels, Mapping) else type(labels).__name__
        raise SettingError(f"labels must be given by the name of the split ({', '.join(splits)}), got {came}")
    views = {}
    for name, dataset in splits.items():
        with split_named(name):
            views[name] = open_dataset(dataset, reading)
            if (n := len(views[name])) < 2:
                raise DataError(f"an audit compares samples: the data set must hold at least 2, got {n}. Leave it out")
    return {name: views[name] for name in sorted(views, key=lambda name: name != "train")}


def _encoder(processes: Processes, view: DatasetView, backbone: Any, settings: EmbeddingSettings) -> Encoder:
    """The encoder of all splits, made for the training split."""
    from selfclean_hooks.data.reader import ImageDataset
    from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
    from selfclean_hooks.embedding.encoders.forward_pass import with_precision
    from selfclean_hooks.utils.rng import preserve_rng_state

    with preserve_rng_state(view.dataset):
        images, progress = ImageDataset(view), settings.progress and processes.is_first
        found = resolve_distributed(processes, backbone, images, progress=progress, **settings.of_encoder)
    return processes.run_on_each(lambda: with_precision(found, settings))
