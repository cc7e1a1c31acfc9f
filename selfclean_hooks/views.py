"""The data set as the audit reads it: without training augmentation, and without a trace in the user's objects.

Transforms sit in attributes, often below a Subset or another wrapper. A view is a copy of that tree, from the top down
to whatever holds a transform; the transform is swapped on the copy, and everything large (arrays, lists of files) is
shared. A copied object gets its own random generators and its own caches, so that reading the view changes neither.
"""

from __future__ import annotations

import copy
import importlib
import operator
import os
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset

from selfclean_hooks.errors import DataError
from selfclean_hooks.items import LABEL_NAMES, digest, picture, split

RAW, EVAL, AS_IS = "raw", "eval", "as it is"
FALLBACK = {
    RAW: "no picture can be read with the transforms bypassed: they are applied, random ones replaced",
    EVAL: "nothing can be read with the random transforms replaced: read as it is, augmentation included",
}
PROBES = 16  # items tried, from the start, to find some that can be read
FILE_LISTS = ("samples", "imgs", "paths", "image_paths", "files", "filenames", "images", "_samples", "_image_files")
PLAIN = (
    str,
    bytes,
    list,
    tuple,
    dict,
    set,
    np.ndarray,
    torch.Tensor,
    type,
    FunctionType,
    MethodType,
    torch.jit.ScriptModule,
)
SEQUENCES = (list, tuple, np.ndarray, torch.Tensor)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


@dataclass(frozen=True)
class View:
    """A data set to read for the audit.

    Attributes:
        dataset: Map-style, of the user's own classes; can be pickled if the user's can.
        notes: What was found and done, in plain words.
    """

    dataset: Any
    notes: tuple[str, ...]


def raw_view(dataset: Any) -> View:
    """What is stored, usually PIL images: every transform is bypassed. For encoders that bring their own preprocessing.

    Where nothing can be read without the transform (or no picture comes out, and with it one does), the view falls back
    to `eval_view`, then to the data set as it is, and a note says so.

    Raises:
        DataError: `dataset` is not map-style.
    """
    return _view(dataset, (RAW, EVAL, AS_IS))


def eval_view(dataset: Any) -> View:
    """What a model meets in evaluation: random transforms replaced by the `COUNTERPARTS`, all else kept.

    Shape and normalisation stay what the user's own model expects. Falls back to the data set as it is, with a note.

    Raises:
        DataError: `dataset` is not map-style.
    """
    return _view(dataset, (EVAL, AS_IS))


def _view(dataset: Any, modes: tuple[str, ...]) -> View:
    check_map_style(dataset)
    original = _Copier(AS_IS).dataset(dataset)
    notes: list[str] = []
    with kept_rng():
        for mode in modes:
            copier = _Copier(mode)
            view = copier.dataset(dataset)
            if mode == AS_IS or _reads_as_well_as(view, original):
                break
            notes.append(FALLBACK[mode])
        return View(view, (*notes, *dict.fromkeys(copier.notes), *_randomness(view)))


# --- transforms -----------------------------------------------------------------------------------


class Identity(torch.nn.Module):
    """Stands where a transform stood and returns what it is given, in whichever way it is called."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One argument as it is, several as a tuple, keywords alone as a dict (albumentations)."""
        if kwargs and not args:
            return kwargs
        return args[0] if len(args) == 1 else args


def _gone(transform: Any) -> list[Any]:
    return []


def _kept_if_certain(transform: Any) -> list[Any]:
    return [transform] if transform.p >= 1 else []


def _blur(transform: Any) -> list[Any]:
    return [transform] if transform.sigma[0] == transform.sigma[1] else []


def _parts_if_certain(transform: Any) -> list[Any]:
    return list(transform.transforms) if transform.p >= 1 else []


def _parts_in_order(transform: Any) -> list[Any]:
    return list(transform.transforms)


def _one_that_sets_the_size(transform: Any) -> list[Any]:
    sizing = (part for part in transform.transforms if any(word in type(part).__name__ for word in ("Crop", "Resize")))
    return list(islice(sizing, 1))


def _centre_crop(transform: Any) -> list[Any]:
    return [_torchvision_like(transform).CenterCrop(transform.size)]


def _resize_and_crop(transform: Any) -> list[Any]:
    return [_resize(transform, int(np.max(transform.size))), *_centre_crop(transform)]


def _resize_shortest(transform: Any) -> list[Any]:
    return [_resize(transform, int(np.max(transform.min_size)), max_size=transform.max_size)]


def _resize_largest(transform: Any) -> list[Any]:
    return [_resize(transform, int(transform.max_size))]


def _resize(transform: Any, size: int, **settings: Any) -> Any:
    how = transform.interpolation
    settings["interpolation"] = how[0] if isinstance(how, (list, tuple)) else how
    return _torchvision_like(transform).Resize(size, antialias=getattr(transform, "antialias", True), **settings)


def _torchvision_like(transform: Any) -> Any:
    """The module of torchvision, v1 or v2, that the transform comes from (v1 for those of timm)."""
    second = any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__)
    return importlib.import_module("torchvision.transforms.v2" if second else "torchvision.transforms")


# fmt: off
DETERMINISTIC_IF_CERTAIN = (
    "RandomHorizontalFlip", "RandomVerticalFlip", "RandomGrayscale", "RandomInvert", "RandomEqualize",
    "RandomAutocontrast", "RandomSolarize", "RandomPosterize", "RandomAdjustSharpness",
)
NEVER_DETERMINISTIC = (
    "ColorJitter", "RandomAffine", "RandomRotation", "RandomPerspective", "RandomErasing", "ElasticTransform",
    "GaussianNoise", "JPEG", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix", "AugMixAugment",
    "RandomPhotometricDistort", "RandomChannelPermutation", "RandomZoomOut", "RandomIoUCrop", "ScaleJitter",
)
# fmt: on

# What takes the place of a random transform of torchvision (v1, v2) or timm, by class name: a list of transforms.
COUNTERPARTS: dict[str, Callable[[Any], list[Any]]] = {
    "RandomResizedCrop": _resize_and_crop,
    "RandomResizedCropAndInterpolation": _resize_and_crop,
    "RandomCrop": _centre_crop,
    "RandomCropOrPad": _centre_crop,
    "RandomShortestSize": _resize_shortest,
    "RandomResize": _resize_largest,
    "RandomOrder": _parts_in_order,
    "RandomChoice": _one_that_sets_the_size,
    "RandomApply": _parts_if_certain,
    "GaussianBlur": _blur,
    **dict.fromkeys(DETERMINISTIC_IF_CERTAIN, _kept_if_certain),
    **dict.fromkeys(NEVER_DETERMINISTIC, _gone),
}


def _counterpart(transform: Any) -> str | None:
    """The name under which a transform, or the class it derives from, stands in COUNTERPARTS."""
    known = (base for base in type(transform).__mro__ if base.__module__.split(".")[0] in ("torchvision", "timm"))
    return next((base.__name__ for base in known if base.__name__ in COUNTERPARTS), None)


# --- copying --------------------------------------------------------------------------------------


class _Copier:
    """Copies one tree. What is met twice (a shared leaf, a shared generator) is copied once."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.notes: list[str] = []
        self.done: dict[int, tuple[Any, Any]] = {}  # id -> (original, kept alive so that its id stays its own; copy)

    def dataset(self, dataset: Any) -> Any:
        if id(dataset) in self.done:
            return self.done[id(dataset)][1]
        if is_huggingface(dataset):
            return self._remember(dataset, self._huggingface(dataset))
        if isinstance(dataset, PLAIN) or not hasattr(dataset, "__dict__"):
            return dataset
        new = self._remember(dataset, _shallow(dataset))
        for name, value in vars(dataset).items():
            vars(new)[name] = self._attribute(name, value)
        return new

    def transform(self, transform: Any) -> Any:
        """The transform, or list or dict of transforms, to use in this mode: the very object where nothing changes."""
        if self.mode != RAW:
            return self._swapped(transform)
        if type(transform).__name__ == "StandardTransform":  # torchvision's pair of transform and target_transform
            return transform if transform.transform is None else _with(transform, {"transform": Identity()})
        self.notes.append(f"{type(transform).__name__} bypassed: the audit reads what is stored")
        return _rebuilt(transform, lambda part: Identity()) if _entries(transform) else Identity()

    def _remember(self, old: Any, new: Any) -> Any:
        self.done[id(old)] = (old, new)
        return new

    def _attribute(self, name: str, value: Any) -> Any:
        if _is_transform(name, value):  # first, as a Compose may look like a data set: transforms[0]
            return self.transform(value)
        if _is_dataset(value):
            return self.dataset(value)
        if self.mode != AS_IS and value is True and name.startswith("augment"):
            self.notes.append(f"{name} set to False")
            return False
        if any(map(_is_dataset, _entries(value)[:1])):
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
                self.notes.append(f"format {form['type']!r} bypassed: the audit reads what is stored")
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
            return value if all(map(operator.is_, _entries(new), _entries(value))) else new
        name = _counterpart(value) if self.mode == EVAL else None
        return self._inside(value) if name is None else self._replaced(name, value)

    def _replaced(self, name: str, transform: Any) -> Any:
        steps = COUNTERPARTS[name](transform)
        if any(step is transform for step in steps):
            return transform
        new = [self._swapped(step) for step in steps]
        instead = " and ".join(type(step).__name__ for step in new)
        self.notes.append(f"{name} replaced by {instead}" if new else f"{name} removed")
        return _joined(new)

    def _inside(self, transform: Any) -> Any:
        """A transform that stays, with the random ones it holds replaced and with generators of its own."""
        if id(transform) in self.done or not _is_step(transform):
            return self._own(transform)
        self._remember(transform, transform)  # ends a cycle
        if self.mode == EVAL:
            self._doubt(type(transform))
        held = vars(transform).items()
        changes = {name: new for name, value in held if (new := self._held(name, value)) is not value}
        return self._remember(transform, _with(transform, changes) if changes else transform)

    def _held(self, name: str, value: Any) -> Any:
        if isinstance(value, GENERATORS):
            return self._own(value)
        return self._swapped(value) if "target" not in name and any(map(_is_step, (value, *_entries(value)))) else value

    def _doubt(self, kind: type) -> None:
        known = kind.__module__.startswith("torchvision.")
        if not known and any(word in kind.__name__ for word in ("Random", "Jitter", "Augment", "Noise")):
            self.notes.append(f"{kind.__name__} kept as it is: not known here, and by its name it may be random")


def _joined(steps: list[Any]) -> Any:
    """Transforms as one. The Compose of v1 is no module, so in a Sequential it cannot stand."""
    if len(steps) == 1:
        return steps[0]
    if not steps:
        return Identity()
    kinds = _torchvision_like(steps[0])
    return kinds.Compose(steps) if kinds.__name__.endswith("v2") else torch.nn.Sequential(*steps)


def _entries(container: Any) -> Sequence[Any]:
    if isinstance(container, dict):
        return list(container.values())
    return container if isinstance(container, (list, tuple)) else ()


def _rebuilt(container: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(container, dict):
        return {key: change(value) for key, value in container.items()}
    make = getattr(container, "_make", type(container))  # _make: of a named tuple
    return make([change(value) for value in container])


def _with(old: Any, changes: Mapping[str, Any]) -> Any:
    new = _shallow(old)
    vars(new).update(changes)
    return new


def _shallow(old: Any) -> Any:
    """A copy that shares every attribute and is made without running code of the class, as copy.copy would."""
    try:
        new = object.__new__(type(old))
    except TypeError:  # a subclass of a builtin
        return copy.copy(old)
    vars(new).update(vars(old))
    return new


def _copied_generator(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return torch.Generator(generator.device).set_state(generator.get_state())
    return generator if isinstance(generator, random.SystemRandom) else copy.deepcopy(generator)


def is_huggingface(value: Any) -> bool:
    """Whether this is a `datasets.Dataset`; told by its class, as wrappers may forward attributes."""
    return hasattr(type(value), "with_format") and hasattr(type(value), "features")


def _is_dataset(value: Any) -> bool:
    if isinstance(value, Dataset) or is_huggingface(value):
        return True
    if isinstance(value, PLAIN) or not hasattr(value, "__dict__") or not hasattr(type(value), "__getitem__"):
        return False
    return any(name in vars(value) for name in ("transform", "transforms", "dataset"))


def _is_transform(name: str, value: Any) -> bool:
    """By name, or by being one of torchvision; what is applied to the label is not meant."""
    if "target" in name or "label" in name:
        return False
    if not callable(value) and not (_entries(value) and all(map(callable, _entries(value)))):
        return False
    named = any(word in name for word in ("transform", "augment"))
    return named or type(value).__module__.startswith("torchvision.transforms.")


def _is_step(value: Any) -> bool:
    return callable(value) and not isinstance(value, PLAIN) and hasattr(value, "__dict__")


# --- probing --------------------------------------------------------------------------------------


@contextmanager
def kept_rng() -> Iterator[None]:
    """Leaves the global generators of random, numpy and torch as they were found, also after an exception."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, read in order to restore it
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = torch.cuda.get_rng_state_all() if used else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)


def _reads_as_well_as(view: Any, original: Any) -> bool:
    """Compares the first item that either can read; True where there is none."""
    for index in range(min(len(view), PROBES)):
        level = _level(view, index)
        if level < 2 and level < _level(original, index):
            return False
        if level > 0:
            return True
    return True


def _level(dataset: Any, index: int) -> int:
    """0: the item cannot be read, 1: it can, 2: and its value is a picture."""
    try:
        item = dataset[index]
    except Exception:  # whatever the user's own code raises; the audit reports such items one by one
        return 0
    try:
        return 1 if picture(split(item).value) is None else 2
    except DataError:
        return 1


def _randomness(dataset: Any) -> list[str]:
    """A note if an item read twice differs, and whose generator makes it so."""
    probes = range(min(len(dataset), PROBES))
    indices = list(islice((index for index in probes if _fingerprint(dataset, index) is not None), 3))
    if all(_fingerprint(dataset, index) == _fingerprint(dataset, index) for index in indices):
        return []
    own = any(_seeded(dataset, index) != _seeded(dataset, index) for index in indices)
    whose = "a generator of its own" if own else "the global random generators"
    return [
        f"items differ from one reading to the next, drawn from {whose}: scores depend on the draw. "
        "Audit a copy of the data set without augmentation for a stable result"
    ]


def _fingerprint(dataset: Any, index: int) -> str | None:
    try:
        return digest(split(dataset[index]).value)
    except Exception:  # not readable, or of a kind that has no fingerprint: says nothing about randomness
        return None


def _seeded(dataset: Any, index: int) -> str | None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, the caller restores it
    torch.default_generator.manual_seed(0)  # not torch.manual_seed, which also seeds devices not yet in use
    return _fingerprint(dataset, index)


# --- where an item comes from ---------------------------------------------------------------------


class Origin(NamedTuple):
    """A position in a leaf of the tree: `path` such as "datasets[1].dataset", "" for the data set itself."""

    path: str
    index: int  # type: ignore[assignment]  # hides tuple.index


def origin(dataset: Any, index: int) -> Origin:
    """Follow position `index` through Subset, ConcatDataset, random_split and plain wrappers to the leaf that holds it.

    A wrapper with `.dataset` of its own length counts as plain unless it has a list or array of that length, which
    might be an order; the search then ends at the wrapper.

    Raises:
        IndexError: `index` is outside the data set.
    """
    path, _, position = _leaf(dataset, index)
    return Origin(path, position)


def file_name(dataset: Any, index: int) -> str | None:
    """The path of the file behind a sample, where its leaf lists files (`FILE_LISTS`); None otherwise.

    Raises:
        IndexError: `index` is outside the data set.
    """
    _, leaf, position = _leaf(dataset, index)
    for name in FILE_LISTS:
        files = _fields(leaf).get(name)
        if isinstance(files, (list, tuple)) and len(files) == len(leaf):
            entry = files[position]
            path = entry[0] if isinstance(entry, tuple) and entry else entry
            if isinstance(path, (str, os.PathLike)):
                return os.fspath(path)
    return None


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Names of the classes 0, 1, ...: `classes` of the leaves or the ClassLabel of a Hugging Face data set.

    None if there are none, if the leaves disagree, or if a `target_transform` may have changed what a label means.
    """
    fields = _fields(dataset)
    if fields.get("target_transform") is not None:
        return None
    inner = [value for entry in fields.values() for value in (entry, *_entries(entry)[:64]) if _is_dataset(value)]
    if inner and "classes" not in fields:
        found = {class_names(value) for value in inner}
        return found.pop() if len(found) == 1 else None
    if is_huggingface(dataset):
        label = next((dataset.features[name] for name in LABEL_NAMES if name in dataset.features), None)
        return _as_names(getattr(label, "names", None))
    return _as_names(getattr(dataset, "classes", None))


def _as_names(names: Any) -> tuple[str, ...] | None:
    fits = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return tuple(names) if fits and names else None


def _fields(value: Any) -> dict[str, Any]:
    return vars(value) if hasattr(value, "__dict__") else {}


def _leaf(dataset: Any, index: int) -> tuple[str, Any, int]:
    path: list[str] = []
    position = _position(dataset, index)
    while (step := _inner(dataset, position)) is not None:
        name, dataset, position = step
        position = _position(dataset, position)
        path.append(name)
    return ".".join(path), dataset, position


def _position(dataset: Any, index: int) -> int:
    position, n = operator.index(index), len(dataset)
    if not -n <= position < n:
        raise IndexError(f"index {position} is outside a data set of {n} samples")
    return position % n


def _inner(dataset: Any, index: int) -> tuple[str, Any, int] | None:
    """One step down the tree, None at a leaf."""
    if isinstance(dataset, ConcatDataset):
        part = bisect_right(dataset.cumulative_sizes, index)
        return f"datasets[{part}]", dataset.datasets[part], index - [0, *dataset.cumulative_sizes][part]
    fields, n = _fields(dataset), len(dataset)
    name = next((name for name in ("dataset", "_dataset") if hasattr(type(fields.get(name)), "__getitem__")), None)
    if name is None or isinstance(inner := fields[name], (str, bytes, Mapping)):
        return None
    indices = fields.get("indices")
    if isinstance(indices, SEQUENCES) and len(indices) == n:
        return name, inner, int(indices[index])
    ordered = any(isinstance(value, SEQUENCES) and len(value) == n for key, value in fields.items() if key != name)
    return None if ordered or len(inner) != n else (name, inner, index)


def check_map_style(dataset: Any) -> None:
    """See that items can be read by position: `len(dataset)`, `dataset[i]`. A list, array or tensor of items will do.

    Raises:
        DataError: They cannot. The message says what to pass instead.
    """
    cure = _cure(dataset)
    if cure is not None:
        came = f"the class {dataset.__name__}" if isinstance(dataset, type) else f"a {type(dataset).__name__}"
        raise DataError(f"a map-style data set is needed, one with len() and [index]; got {came}: {cure}")


def _cure(dataset: Any) -> str | None:
    if isinstance(dataset, type):
        return "make an instance of it"
    if isinstance(dataset, (str, bytes, os.PathLike)):
        return "open it first, for example torchvision.datasets.ImageFolder(path)"
    if isinstance(dataset, Mapping):
        return (
            f"pass one of its values ({', '.join(map(str, dataset)) or 'it is empty'}), or all of them to audit_splits"
        )
    if isinstance(dataset, DataLoader):
        return "pass its .dataset"
    stream = "read the items into a list first, or use a map-style data set"
    if isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__"):
        return stream
    try:
        len(dataset)
    except (TypeError, NotImplementedError):
        return f"{stream}; it has no length"
    return None
