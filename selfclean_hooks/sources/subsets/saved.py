"""Part of a Hugging Face data set, saved on disk as the library saves it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.data.items import named_label
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.source import Source
from selfclean_hooks.sources.subsets.subset import Changes, Subset, new_rows, new_values

FOLDER = "."  # the library writes several files into the folder itself


def saved_subset(source: Source, changes: Changes) -> Subset:
    """The kept rows, new labels in the column of labels.

    Raises:
        SourceError: a new label does not fit, or there is no column of labels.
    """
    dataset: Any = source.dataset
    assert is_huggingface(dataset)
    new = _new_labels(dataset, changes.labels, source.name)

    def write(target: Path) -> None:
        changed = dataset
        for name, values in new.items():
            changed = _with_column(changed, name, values)
        with without_bars():
            changed.select(changes.kept).save_to_disk(str(target))

    return Subset({}, {FOLDER: write})


def label_column(dataset: Any) -> str | None:
    """The column that the labels of a Hugging Face data set are read from; None: there is none, or it is not plain."""
    found = named_label({name: name for name in dataset.features})
    return found if isinstance(found, str) else None


def _new_labels(dataset: Any, labels: Mapping[int, str], where: str) -> dict[str, list[Any]]:
    """Name of the column of labels and its values, where any are new."""
    if not labels:
        return {}
    name = label_column(dataset)
    if name is None:
        came = ", ".join(dataset.features)
        raise SourceError(f"{where}: new labels need one column of labels, got {came}: rename it to `label`")
    values = dataset.with_format(None)[name][:]
    names = getattr(dataset.features[name], "names", None)
    is_row = isinstance(next(iter(values), None), (list, tuple))
    new = new_rows(labels, names, len(values[0]), where) if is_row else new_values(values, labels, names, where)
    return {name: [new.get(i, value) for i, value in enumerate(values)]}


@contextmanager
def without_bars() -> Iterator[None]:
    """No progress bars of the library within the block."""
    bars = importlib.import_module("datasets.utils")
    if bars.are_progress_bars_disabled():
        yield
        return
    bars.disable_progress_bars()
    try:
        yield
    finally:
        bars.enable_progress_bars()


def _with_column(dataset: Any, name: str, values: list[Any]) -> Any:
    order, feature = dataset.column_names, dataset.features[name]
    return dataset.remove_columns(name).add_column(name, values, feature=feature).select_columns(order)
