"""Some samples of a data set that pass for the data set itself: its attributes, and new labels where it has some."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from selfclean_hooks.core.settings import DEFAULT_SETTINGS, EmbeddingSettings
from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.data.views.dataset_view import PROBES, DatasetView, open_dataset
from selfclean_hooks.data.views.item_fields import Fields
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.rng import preserve_rng_state

LABELS, LABELLED = ("targets", "labels"), ("samples", "imgs")  # attributes of labels, and of pairs that end in one
PER_SAMPLE = ("targets", "labels", "samples", "imgs", "paths", "data")


@dataclass(frozen=True)
class NewLabels:
    """The labels that replace others.

    Attributes:
        source: position -> that of the sample whose label it gets.
        values: position of such a sample -> its label as the data set gives it.
        fields: where the label of an item is.
    """

    source: Mapping[int, int] = field(default_factory=dict)
    values: Mapping[int, Any] = field(default_factory=dict)
    fields: Fields = field(default_factory=Fields)

    @classmethod
    def read(cls, dataset: Any, relabelled: IntArray, reading: EmbeddingSettings = DEFAULT_SETTINGS) -> NewLabels:
        """Read one label of each class that is needed; draws nothing from the generators.

        Args:
            dataset: a data set, or the view of one. Not read where nothing is relabelled.
            relabelled: (R, 2) positions of samples, and of those whose label they get.
            reading: may say which field of an item is the label.

        Raises:
            DataError: an item has no label that can be replaced.
        """
        if not len(relabelled):
            return cls()
        values, view = {}, open_dataset(dataset, reading)
        with preserve_rng_state(view.dataset):
            fields = _fields(view)
            for index in np.unique(relabelled[:, 1]).tolist():
                item = view.dataset[index]
                values[index] = fields.held_label(item)
                fields.with_label(item, values[index])  # fails here rather than in the midst of training
        return cls(dict(relabelled.tolist()), values, fields)

    def serve(self, position: int, item: Any) -> Any:
        """The item of a position with its new label; as it is where that has none."""
        if position not in self.source:
            return item
        return self.fields.with_label(item, copy.deepcopy(self.values[self.source[position]]))

    def serve_all(self, positions: Sequence[int], items: Any) -> Any:
        """A batch of items, of a list each by `serve`.

        Raises:
            DataError: the items are not in a list, and some have new labels.
        """
        if self.source.keys().isdisjoint(positions):
            return items
        if not isinstance(items, list):
            raise DataError(
                f"items of a batch must come in a list for labels to be replaced, got a {type(items).__name__} from "
                "__getitems__: return a list there, or use policy 'drop'"
            )
        return [self.serve(position, item) for position, item in zip(positions, items, strict=True)]

    def listed(self, name: str, values: Any) -> Any:
        """An attribute with one entry a sample, with the new labels in it."""
        if not self.source or name not in (*LABELS, *LABELLED):
            return values
        changed = copy.copy(values) if isinstance(values, (list, np.ndarray)) else _copied(values)
        for position, source in self.source.items():
            new = values[source]
            changed[position] = new if name in LABELS else (*values[position][:-1], new[-1])
        return tuple(changed) if isinstance(values, tuple) else changed


def _fields(view: DatasetView) -> Fields:
    """Where the label of an item is, as the first items show it."""
    items = view.stored.items
    for index in range(min(len(items), PROBES)):
        with suppress(Exception):  # unreadable, which the audit reports
            items[index]
            break
    return items.fields


def _copied(values: Any) -> Any:
    if isinstance(values, tuple):
        return list(values)
    if hasattr(values, "clone"):
        return values.clone()
    raise DataError(f"labels in a {type(values).__name__} cannot be replaced: use a list, an array or a tensor")


class InnerAttributes:
    """Attributes of the data set in `dataset`; those with one entry a sample hold the samples at `indices` only.

    Their labels are those in `new_labels` where there are some. Attributes with a leading underscore are never those
    of the data set: pickle and copy look for them.
    """

    dataset: Any
    indices: Any
    new_labels: NewLabels = NewLabels()
    OWN = frozenset({"dataset", "indices", "new_labels"})
    CALLED = "dataset"  # in messages

    def __getattr__(self, name: str) -> Any:
        """Called for what this object and its class have not."""
        if name.startswith("_") or name in self.OWN:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = getattr(self.dataset, name)
        if callable(value) and is_huggingface(self.dataset) and not name.startswith("set_"):
            raise AttributeError(
                f".{name}() would return all samples, the dropped ones included: call it on "
                f"{self.CALLED}.dataset.select({self.CALLED}.indices), or before the audit"
            )
        return self._kept(name, value) if name in PER_SAMPLE else value

    def _kept(self, name: str, values: Any) -> Any:
        """The entries of the kept samples, for an attribute with one entry a sample; anything else unchanged."""
        if not hasattr(type(values), "__len__") or len(values) != len(self.dataset):
            return values
        values = self.new_labels.listed(name, values)
        if isinstance(values, (np.ndarray, torch.Tensor)):
            return values[np.asarray(self.indices, np.int64)]
        if isinstance(values, (list, tuple)):
            return type(values)([values[index] for index in self.indices])
        raise AttributeError(
            f".{name} holds {len(values)} entries in a {type(values).__name__}, which cannot be filtered: "
            f"use {self.CALLED}.dataset.{name} together with {self.CALLED}.indices"
        )


class KeptSamples(InnerAttributes, Subset[Any]):
    """A Subset in the place of the data set that the user's code expects in its loader.

    What is set on it is set on the inner data set, where items are made.

    Args:
        dataset: the whole.
        indices: positions in it.
        new_labels: of some of these.
    """

    def __init__(self, dataset: Any, indices: Sequence[int], new_labels: NewLabels | None = None) -> None:
        """See the class."""
        super().__init__(dataset, indices)
        if new_labels is not None:
            self.new_labels = new_labels

    def __getitem__(self, index: Any) -> Any:
        """The item, with the label that it was given."""
        item = super().__getitem__(index)  # type: ignore[no-untyped-call]
        return item if isinstance(index, list) else self.new_labels.serve(self.indices[index], item)

    def __getitems__(self, indices: list[int]) -> Any:
        """A batch at once, for data sets that can do this."""
        return self.new_labels.serve_all([self.indices[index] for index in indices], super().__getitems__(indices))

    def native(self) -> Any:
        """These samples as a data set of the kind of the whole where that is Hugging Face's, else this object."""
        whole, source = self.dataset, self.new_labels.source
        if not is_huggingface(whole):
            return self
        if not source:
            return whole.select(self.indices)
        plain, names, form = whole.with_format(None), whole.column_names, whole.format
        try:
            label = self.new_labels.fields.label_place(plain[self.indices[0]])
        except DataError:  # its format makes the label of other columns
            return self
        given = list(plain[label])
        column = [given[source.get(index, index)] for index in self.indices]
        kept = plain.select(self.indices).remove_columns(label).add_column(label, column)
        kept = kept.cast_column(label, whole.features[label]).select_columns(names)
        return kept.with_format(form["type"], form["columns"], form["output_all_columns"], **form["format_kwargs"])

    def __setattr__(self, name: str, value: Any) -> None:
        """Attributes of its own are those of a Subset."""
        if name in self.OWN:
            super().__setattr__(name, value)
        elif name in PER_SAMPLE and not isinstance(getattr(type(self.dataset), name, None), property):
            raise AttributeError(
                f".{name} has one entry for each of {len(self.dataset)} samples, {len(self)} of which are kept: set it "
                "on .dataset"
            )
        else:
            setattr(self.dataset, name, value)
