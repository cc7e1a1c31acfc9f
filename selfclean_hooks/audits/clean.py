"""`clean`: a data set, its splits or a stream, without what an audit of it says to leave out, as the same type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import Unpack

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.audit_dataset import audit
from selfclean_hooks.audits.audit_splits import audit_splits
from selfclean_hooks.audits.settings import AuditOptions, audit_settings
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.decisions.settings import Policy, Thresholds
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.corrections import Corrections

T = TypeVar("T")
CLEAN = Policy("drop", "drop", "drop", "drop", leakage="drop")


def clean(
    data: T,
    policy: Policy | None = None,
    thresholds: Thresholds | None = None,
    backbone: Any = "auto",
    method: str = "default",
    output_dir: str | Path | None = None,
    key: str | Callable[[Any], Any] | None = None,
    **options: Unpack[AuditOptions],
) -> T:
    """The data without what an audit of it says to leave out.

        clean = selfclean_hooks.clean(load_dataset("beans"), policy=Policy(near_duplicates="drop"))

    Data sets of Hugging Face and streams stay what they are; of another map-style data set it is an `AuditedDataset`.
    Of several splits only "train", or else the first, loses samples, those that leak into the others included.

    A stream (torch's IterableDataset, a webdataset, a Hugging Face data set with `streaming=True`) is read once to be
    embedded and audited, in a memory that does not grow with its images, once more for the images of a report, and
    each time that the result is iterated over, when samples are left out by their keys. It must give the same samples
    in every pass, in any order.

    Args:
        data: a data set or a stream as for `audit`, or a dict of them by name of the split (`DatasetDict`).
        policy: what a flag does. None: all flagged samples are dropped, of near duplicates all but one.
        thresholds: where a score becomes a flag.
        backbone: as for `audit`. One that is trained on the data is trained on the first samples of a stream.
        method: as for `audit`.
        output_dir: where the audit is saved, with its report. None: nowhere.
        key: of a stream: name of the field that says which sample an item is, or a function of the item. None: the
            `__key__` of a webdataset, else all that is in the item.
        **options: as for `audit`; of a stream, `group_key` is a field of an item, or a function of it.

    Returns:
        Data of the same type; `data` itself where nothing is left out of it. Nothing is copied but positions and keys.

    Raises:
        DataError: the data cannot be audited, or keys are not unique.
        ContaminationError: the policy says "raise", and samples were flagged.
        PolicyError: the policy would drop more than its `max_drop_fraction`.
        BackboneError: the backbone provides no usable features.
        SettingError: a setting is not valid.
    """
    from selfclean_hooks.data.views.stream import is_stream

    splits: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {"": data}
    streams = [is_stream(each) for each in splits.values()]
    if not splits or any(streams) != all(streams):
        came = "data sets and streams" if splits else "none"
        raise SettingError(f"splits must be data sets, or streams all of them, got {came}")
    if key is not None and not any(streams):
        raise SettingError("key= is for streams, and samples of this data are known by their positions: leave it out")
    if policy is None:
        policy = replace(CLEAN, image_quality="drop") if options.get("image_quality") else CLEAN
    if any(streams):
        if options.get("labels") is not None:
            raise SettingError("labels= are in the order of a data set, and a stream has its own: leave them out")
        from selfclean_hooks.audits.streams import audit_streams

        settings = audit_settings(method, thresholds, policy, options)
        result, cleaned = audit_streams(splits, backbone, settings, key, with_images=output_dir is not None)
    else:
        result = _audited(splits, backbone, method, thresholds, policy, options)
        cleaned = {name: partial(_kept, splits[name], one, options) for name, one in result.audits.items()}
    if output_dir is not None:
        (result if len(result.audits) > 1 else next(iter(result.audits.values()))).save(output_dir)
    for one in result.audits.values():
        one.enforce()
    same: Any = {name: cleaned[name]() for name in splits}
    if isinstance(data, Mapping):
        return type(data)(same)  # type: ignore[call-arg]  # a dict, of whatever class
    return same[""]  # type: ignore[no-any-return]


def _audited(
    splits: Mapping[str, Any],
    backbone: Any,
    method: str,
    thresholds: Thresholds | None,
    policy: Policy,
    options: AuditOptions,
) -> SplitsAudit:
    if len(splits) > 1:
        return audit_splits(splits, backbone, method, thresholds, policy, **options)
    ((name, dataset),) = splits.items()
    if isinstance(options.get("labels"), Mapping):
        options = {**options, "labels": options["labels"].get(name)}
    return SplitsAudit({name: audit(dataset, backbone, method, thresholds, policy, **options)}, ())


def _kept(dataset: Any, one: Audit, options: AuditOptions) -> Any:
    from selfclean_hooks.audits.audited_dataset import AuditedDataset
    from selfclean_hooks.data.dataset_tree import is_huggingface
    from selfclean_hooks.data.views.kept_samples import KeptSamples, NewLabels

    changes = Corrections.of(one)
    if not changes:
        return dataset
    if not is_huggingface(dataset):
        return AuditedDataset(dataset, audit=one)
    reading = audit_settings("default", None, None, options).embedding
    new_labels = NewLabels.read(dataset, changes.relabelled, reading)
    return KeptSamples(dataset, one.clean_indices.tolist(), new_labels).native()
