"""Items with another label: that of a sample of the right class, in the form in which the data set gives it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfclean_hooks.core.settings import DEFAULT_SETTINGS, EmbeddingSettings
from selfclean_hooks.data.views.dataset_view import PROBES, DatasetView, open_dataset
from selfclean_hooks.data.views.item_fields import Fields
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.rng import preserve_rng_state

LABELS, LABELLED = ("targets", "labels"), ("samples", "imgs")  # attributes of labels, and of pairs that end in one


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
