"""Which features an audit in training uses: those of the module in training, if it has learned anything."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from torch import nn

from selfclean_hooks.embedding.backbones.hugging_face import is_transformer, of_transformer
from selfclean_hooks.embedding.encoders.encoder import of_module
from selfclean_hooks.errors import BackboneError, UnknownBackboneError

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
COLLAPSED = 1.1  # RankMe of features that are all but constant, as with batch statistics that lag behind


class Representation(NamedTuple):
    """What to embed with, and why in one line."""

    backbone: Any  # for `embed`
    why: str
    by_rule: bool = False  # features of the module in training, found without a name given
    least_rank: float = 0.0  # RankMe that they must have


def representation(
    backbone: Any, module: nn.Module, progress: str, packages: tuple[str, ...] = (), processor: Any = None
) -> Representation:
    """What the `backbone` of a `DataAudit` means at this moment.

    Args:
        backbone: None (the module in training), the name of a part of it, or what `audit` takes.
        module: in training.
        packages: of the trainer; a `forward` defined there is not the user's own.
        progress: why the module is known to have learned something ("a checkpoint was loaded"), or "".
        processor: of a model of transformers, where it is not the model's own.

    Raises:
        BackboneError: The module is to be used, and it is not clear which part of it.
    """
    part = dict(module.named_modules()).get(backbone) if isinstance(backbone, str) and backbone else None
    if backbone is not None and part is None:
        if isinstance(backbone, str):
            _check_no_slip(backbone, module)
        return Representation(backbone, "")
    what = f"{type(module).__name__}{f'.{backbone}' if backbone else ''}"
    learned = progress or signs_of_training(module if part is None else part)
    if not learned:
        return Representation(
            "auto",
            f"{what} looks freshly initialised, so its features say nothing yet: backbone='auto' is used, pretrained "
            "weights where they can be had, else a small encoder that is now trained on the data",
        )
    features = features_of(module, part, packages, processor)
    return Representation(features, f"features of {what}, {learned}", backbone is None, COLLAPSED)


def replacement(error: Exception) -> Representation:
    """What is embedded with until the module in training gives features."""
    return Representation("auto", f"{error}. Until then backbone='auto' is used")


def _check_no_slip(name: str, module: nn.Module) -> None:
    """See that a name that is none of a part is not meant to be one."""
    parts = [part for part, _ in module.named_modules() if part]
    near = difflib.get_close_matches(name, parts, 3, cutoff=0.75) or [p for p in parts if p == name.split(".")[0]]
    if near:
        raise UnknownBackboneError(
            f'{type(module).__name__} has no part {name!r}: did you mean {", ".join(near)}? Else it is "auto", '
            '"self-supervised", a timm name, "hf:NAME", a module or a function'
        )


def features_of(
    module: nn.Module, part: nn.Module | None = None, packages: tuple[str, ...] = (), processor: Any = None
) -> Any:
    """The Encoder of the module in training: its `forward`, or that of a part of it as `forward` feeds it."""
    if is_transformer(module) and (part is None or is_transformer(part)):
        return of_transformer(module if part is None else part, processor=processor)
    forward = type(module).forward
    if forward is not nn.Module.forward and forward.__module__.split(".")[0] not in packages:
        return of_module(module) if part is None else of_module(part, within=module)
    if part is not None:
        return of_module(part)
    parts = [name for name, child in module.named_children() if any(True for _ in child.parameters())]
    if len(parts) != 1:
        raise BackboneError(
            f"{type(module).__name__} has no forward(), and it is not clear which part of it gives the features, of "
            f"{', '.join(parts) or 'none'}: name one, as backbone={(parts or ['encoder'])[0]!r}, or write forward()"
        )
    return of_module(module.get_submodule(parts[0]))


def signs_of_training(module: nn.Module) -> str:
    """By what a module shows that it was trained before, or "".

    The scale of a normalisation layer starts as a constant, and training alone makes its entries differ. A module
    without such layers shows nothing.
    """
    for name, layer in module.named_modules():
        weight = getattr(layer, "weight", None) if isinstance(layer, NORMS) else None
        if weight is not None and weight.numel() > 1 and bool((weight != weight.flatten()[0]).any()):
            return f"trained before (the weights of {name or type(layer).__name__} have moved)"
    return ""
