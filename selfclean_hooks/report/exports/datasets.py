"""All samples as a data set of images with labels, scores and flags: for FiftyOne, or as Hugging Face saves one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.core.scores import label_texts, predicted_texts
from selfclean_hooks.errors import SettingError
from selfclean_hooks.report.exports.tables import absolute, encodable, needed, samples_of
from selfclean_hooks.results.display_names import files_of
from selfclean_hooks.sources.subsets.saved import without_bars
from selfclean_hooks.utils.text import plain

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

OTHERWISE = ("index", "sample", "split", "given_label", "predicted_label")  # columns that are no fields of their own


def write_fiftyone(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Write a folder with metadata.json and samples.json, as FiftyOne imports them; images stay where they are.

    `fo.Dataset.from_dir(FOLDER, fo.types.LegacyFiftyOneDataset)` reads it.

    Raises:
        SettingError: a sample has no file.
    """
    samples = [sample for split, audit in audits.items() for sample in _samples(split, audit)]
    classes = sorted({name for audit in audits.values() for name in audit.scores.class_names or ()})
    path.mkdir()
    for name, content in (
        ("metadata.json", {"media_type": "image", "info": {}, "default_classes": classes}),
        ("samples.json", {"samples": samples}),
    ):
        (path / name).write_text(json.dumps(plain(content), allow_nan=False), encoding="utf-8")


def _samples(split: str, audit: AuditResult) -> list[dict[str, Any]]:
    if not audit.names or not all(audit.names):
        raise SettingError("FiftyOne shows files, and samples of this audit have none: export as csv")
    frame = samples_of({"": audit})
    given, predicted = _labels(audit, label_texts(audit.scores)), _labels(audit, predicted_texts(audit.scores))
    columns = {str(name): frame[name].astype(object).tolist() for name in frame if name not in OTHERWISE}
    return [
        {
            "filepath": absolute(file),
            "tags": [*_tags(audit, i), *([split] if split else [])],
            "metadata": None,
            "_media_type": "image",
            "ground_truth": given[i],
            "predicted": predicted[i],
            "sample_index": i,
            **{name: values[i] for name, values in columns.items()},
        }
        for i, file in enumerate(files_of(audit) or ())
    ]


def _labels(audit: AuditResult, texts: list[str]) -> list[dict[str, Any] | None]:
    """Labels as FiftyOne's Classification; None for none."""
    has_label = audit.scores.given_label >= 0 if audit.scores.targets is None else [True] * len(audit)
    return [
        {"_cls": "Classification", "tags": [], "label": text} if known and text else None
        for text, known in zip(texts, has_label, strict=True)
    ]


def _tags(audit: AuditResult, i: int) -> list[str]:
    """The issues that a sample counts for, and what is done with it."""
    decisions = audit.decisions
    tags = [issue for issue in decisions.flags if issue in BY_NAME and decisions.contamination_mask(issue)[i]]
    tags += ["dropped"] if decisions.dropped[i] else []
    return [*tags, *(["relabelled"] if i in audit.new_labels else [])]


def _image(name: str) -> dict[str, Any] | None:
    """An image as the library takes it: by its path, or by its content where the name is no text."""
    if not os.path.isfile(name):
        return None
    is_text = name.isprintable()
    return {"path": name if is_text else None, "bytes": None if is_text else Path(name).read_bytes()}


def write_huggingface(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Write the folder that `datasets.load_from_disk` reads; images are copied into it, None where there is no file."""
    frame = encodable(samples_of(audits))
    for name in ("given_label", "predicted_label"):
        frame[name] = frame[name].astype(object).map(str, na_action="ignore")
    with needed("datasets", "huggingface"):
        import datasets
    files = [file for audit in audits.values() for file in files_of(audit) or ("",) * len(audit)]
    made = datasets.Dataset.from_pandas(frame, preserve_index=False)
    shown = datasets.Dataset.from_dict({"image": list(map(_image, files))}, datasets.Features(image=datasets.Image()))
    made = datasets.concatenate_datasets([shown, made], axis=1)
    with without_bars():
        made.save_to_disk(str(path))
