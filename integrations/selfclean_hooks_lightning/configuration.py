"""What a YAML file of LightningCLI may say where `DataAudit` takes any object: names, and classes with plain arguments.

An annotation with Any would let a file call whatever function it names, while it is read. So would a class with an
argument of no type; here arguments are numbers, words and lists of these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import Dataset
from typing_extensions import NotRequired, TypedDict

from selfclean_hooks.errors import SettingError

Plain = bool | int | float | str | None


class ObjectSpec(TypedDict):
    """A class by its path, and its arguments."""

    class_path: str
    init_args: NotRequired[dict[str, Plain | list[Plain]]]


if TYPE_CHECKING:  # what Python code passes
    Backbone = Any
    HeldOut = Any
    GroupKey = Any
else:  # what a YAML file does
    Backbone = str | ObjectSpec | None
    HeldOut = dict[str, ObjectSpec] | None
    GroupKey = str | None


def backbone_of(value: Any) -> Any:
    """The module that a specification describes; any other value as it is."""
    return _made("backbone", value, nn.Module)


def held_out_of(value: Any) -> Any:
    """The same for data sets by name."""
    if not isinstance(value, dict):
        return value
    return {name: _made(f"held_out[{name!r}]", spec, Dataset) for name, spec in value.items()}


def _made(name: str, spec: Any, kind: type) -> Any:
    if not isinstance(spec, dict) or not isinstance(spec.get("class_path"), str):
        return spec
    module, _, attribute = spec["class_path"].rpartition(".")
    try:
        found = getattr(import_module(module), attribute) if module else None
    except (ImportError, AttributeError) as error:
        raise SettingError(f"{name}: there is no class {spec['class_path']!r} ({error})") from error
    if not isinstance(found, type) or not issubclass(found, kind):
        raise SettingError(f"{name} must be a {kind.__name__}, got the path {spec['class_path']!r} of something else")
    return found(**(spec.get("init_args") or {}))
