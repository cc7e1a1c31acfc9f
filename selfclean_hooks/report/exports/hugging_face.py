"""All samples as a Hugging Face data set saved on disk: the image of each beside its scores, flags and labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.report.exports.tables import encodable, needed, samples_of
from selfclean_hooks.sources.subsets.saved import without_bars

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


def _image(name: str) -> dict[str, Any] | None:
    """An image as the library takes it: by its path, or by its content where the name is no text."""
    if not os.path.isfile(name):
        return None
    is_text = name.isprintable()
    return {"path": name if is_text else None, "bytes": None if is_text else Path(name).read_bytes()}


def write_dataset(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Write the folder that `datasets.load_from_disk` reads; images are copied into it, None where there is no file."""
    frame = encodable(samples_of(audits))
    for name in ("given_label", "predicted_label"):
        frame[name] = frame[name].astype(object).map(str, na_action="ignore")
    with needed("datasets", "huggingface"):
        import datasets
    names = [name for audit in audits.values() for name in audit.names or ("",) * len(audit)]
    made = datasets.Dataset.from_pandas(frame, preserve_index=False)
    shown = datasets.Dataset.from_dict({"image": list(map(_image, names))}, datasets.Features(image=datasets.Image()))
    made = datasets.concatenate_datasets([shown, made], axis=1)
    with without_bars():
        made.save_to_disk(str(path))
