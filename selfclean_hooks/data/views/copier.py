"""A copy of a tree of data sets, with the transforms in it bypassed or made deterministic.

Copied is from the top down to whatever holds a transform; everything large (arrays, lists of files) is shared. A copied
object gets its own random generators and its own caches, so that reading the copy changes neither.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import torch

from selfclean_hooks.data.dataset_tree import PLAIN, entries, is_dataset, is_huggingface
from selfclean_hooks.data.views.augmentation import COUNTERPARTS, Identity, counterpart, doubt_of, join_doubts
from selfclean_hooks.utils.rng import GENERATORS

RAW, EVAL, AS_IS = "raw", "eval", "as it is"


class Copier:
    """Copies one tree. What is met twice (a shared leaf, a shared generator) is copied once.

    Args:
        mode: RAW: every transform bypassed; EVAL: random ones replaced; AS_IS: none touched.

    Attributes:
        notes: What was changed, in plain words; may repeat itself.
        is_changed: Whether any transform or format was bypassed or replaced.
    """

    def __init__(self, mode: str) -> None:
        """An empty memory."""
        self.mode = mode
        self.notes: list[str] = []
        self.is_changed = False
        self.done: dict[int, tuple[Any, Any]] = {}  # id -> (original, kept alive so that its id stays its own; copy)

    def dataset(self, dataset: Any) -> Any:
        """The copy of a data set and of all below it."""
        if id(dataset) in self.done:
            return self.done[id(dataset)][1]
        if is_huggingface(dataset):
            return self._remember(dataset, self._huggingface(dataset))
        if isinstance(dataset, PLAIN) or not hasattr(dataset, "__dict__"):
            return dataset
        new = self._remember(dataset, shallow(dataset))
        for name, value in vars(dataset).items():
            vars(new)[name] = self._attribute(name, value)
        return new

    def transform(self, transform: Any) -> Any:
        """The transform, or list or dict of transforms, to use in this mode: the very object where nothing changes."""
        if self.mode != RAW:
            return self._swapped(transform)
        if type(transform).__name__ == "StandardTransform":  # torchvision's pair of transform and target_transform
            if transform.transform is None:
                return transform
            self.is_changed = True
            return _with(transform, {"transform": Identity()})
        self._note_change(f"{type(transform).__name__} bypassed: the audit reads what is stored")
        return _rebuilt(transform, lambda part: Identity()) if entries(transform) else Identity()

    def _note_change(self, note: str) -> None:
        self.is_changed = True
        self.notes.append(note)

    def _remember(self, old: Any, new: Any) -> Any:
        self.done[id(old)] = (old, new)
        return new

    def _attribute(self, name: str, value: Any) -> Any:
        if _is_transform(name, value):  # first, as a Compose may look like a data set: transforms[0]
            return self.transform(value)
        if is_dataset(value):
            return self.dataset(value)
        if self.mode != AS_IS and value is True and name.startswith("augment"):
            self._note_change(f"{name} set to False")
            return False
        if any(map(is_dataset, entries(value)[:1])):
            return _rebuilt(value, self.dataset)
        return self._own(value)

    def _own(self, value: Any) -> Any:
        """A private copy of what reading an item may change in place; anything else as it is."""
        if id(value) in self.done:
            return self.done[id(value)][1]
        if isinstance(value, GENERATORS):
            return self._remember(value, _copied_generator(value))
        if isinstance(value, MethodType) and id(value.__self__) in self.done:
            return MethodType(value.__func__, self.done[id(value.__self__)][1])
        # A dict, a set, an empty list or one with gaps may be a cache, not to be filled by the view. Copies references.
        gaps = type(value) is list and (not value or any(entry is None for entry in value))
        if gaps or isinstance(value, (dict, set)):
            return self._remember(value, copy.copy(value))
        return value

    def _huggingface(self, dataset: Any) -> Any:
        form = getattr(dataset, "format", None) or {}
        if self.mode == RAW:
            if form.get("type") is not None:
                self._note_change(f"format {form['type']!r} bypassed: the audit reads what is stored")
            return dataset.with_format(None)
        if form.get("type") != "custom":
            return dataset
        old = form["format_kwargs"]["transform"]
        new = self.transform(old)
        if self.mode == EVAL and new is old:
            self.notes.append(
                f"its transform {getattr(old, '__name__', old)} is code and kept as it is, augmentation included"
            )
        settings = {"columns": form.get("columns"), "output_all_columns": form.get("output_all_columns", False)}
        return dataset if new is old else dataset.with_transform(new, **settings)

    def _swapped(self, value: Any) -> Any:
        if isinstance(value, (list, tuple, dict)):
            new = _rebuilt(value, self._swapped)
            return value if all(map(operator.is_, entries(new), entries(value))) else new
        name = counterpart(value) if self.mode == EVAL else None
        return self._inside(value) if name is None else self._replaced(name, value)

    def _replaced(self, name: str, transform: Any) -> Any:
        steps = COUNTERPARTS[name](transform)
        if any(step is transform for step in steps):
            return transform
        new = [self._swapped(step) for step in steps]
        instead = " and ".join(type(step).__name__ for step in new)
        self._note_change(f"{name} replaced by {instead}" if new else f"{name} removed")
        return join_doubts(new)

    def _inside(self, transform: Any) -> Any:
        """A transform that stays, with the random ones it holds replaced and with generators of its own."""
        if id(transform) in self.done or not _is_step(transform):
            return self._own(transform)
        self._remember(transform, transform)  # ends a cycle
        if self.mode == EVAL:
            self.notes.extend(doubt_of(transform))
        held = vars(transform).items()
        changes = {name: new for name, value in held if (new := self._held(name, value)) is not value}
        return self._remember(transform, _with(transform, changes) if changes else transform)

    def _held(self, name: str, value: Any) -> Any:
        if isinstance(value, GENERATORS):
            return self._own(value)
        return self._swapped(value) if "target" not in name and any(map(_is_step, (value, *entries(value)))) else value


def _rebuilt(container: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(container, dict):
        return {key: change(value) for key, value in container.items()}
    return type(container)([change(value) for value in container])


def _with(old: Any, changes: Mapping[str, Any]) -> Any:
    new = shallow(old)
    vars(new).update(changes)
    return new


def shallow(old: Any) -> Any:
    """A copy that shares every attribute and is made without running code of the class, as copy.copy would."""
    new = object.__new__(type(old))
    vars(new).update(vars(old))
    return new


def _copied_generator(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return torch.Generator(generator.device).set_state(generator.get_state())
    return copy.deepcopy(generator)


def _is_transform(name: str, value: Any) -> bool:
    """By name, or by being one of torchvision; what is applied to the label is not meant."""
    if "target" in name or "label" in name:
        return False
    if not callable(value) and not (entries(value) and all(map(callable, entries(value)))):
        return False
    named = any(word in name for word in ("transform", "augment"))
    return named or type(value).__module__.startswith("torchvision.transforms.")


def _is_step(value: Any) -> bool:
    return callable(value) and not isinstance(value, PLAIN) and hasattr(value, "__dict__")
