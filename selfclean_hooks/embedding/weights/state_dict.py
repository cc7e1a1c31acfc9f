"""Which tensors of a file belong to a module: one rule for where they are and which prefix their names have.

The prefix may be anything: the name of a dictionary in the file, a LightningModule's name for the model, what DDP or
torch.compile add ("state_dict.net.backbone.", "module.", "model_ema._orig_mod."). The rule:

1. A prefix is taken under which the file has every name of the module; if several, one whose shapes are right too.
2. Of several that with the fewest parts, "module" and "_orig_mod" not counted.
3. Of as many parts, averaged weights (ema, teacher, momentum, ...) before others, those before a student's or query's.
4. If there is still a choice, the weights must be the same.

All tensors under it must be the module's, except those of a classifier that the module does without. Counters of
batches may be missing or left over: they are no weights.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from selfclean_hooks.embedding.encoders.features import tensors_of
from selfclean_hooks.embedding.weights.checkpoint_file import read
from selfclean_hooks.embedding.weights.stored_tensor import Checkpoint, StoredTensor, nbytes
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.text import visible
from selfclean_hooks.utils.torch_internals import uncompiled


def load_weights(module: nn.Module, path: str | Path) -> nn.Module:
    """Load the weights in a file into a module of your own, whatever prefix their names have there.

    For architectures that timm does not have, or other image sizes: ``audit(data, load_weights(net, "last.ckpt"))``.

    Args:
        module: whose parameters and buffers are overwritten, in their own precision and on their own device. Its
            classifier, if it has one, must be in the file; one that is an nn.Identity need not be.
        path: a Lightning checkpoint, a state dict saved by torch.save, timm's training checkpoint, or safetensors. EMA
            weights are taken if there are such; the rule is at the top of this module.

    Returns:
        The module.

    Raises:
        BackboneError: the file cannot be read without running code in it, or does not fit; the module is as it was.
    """
    inner: Any = uncompiled(module)
    inner = inner.module if type(inner).__name__ in ("DistributedDataParallel", "DataParallel") else inner
    load_into(inner, read(path), type(inner).__name__)
    return module


LARGER, SMALL = 8, 2**24  # a module may have so many times the bytes of its file: half precision, tied weights
COUNTER = "num_batches_tracked"
WRAPPERS = {"module", "_orig_mod"}
AVERAGED = {"ema", "teacher", "momentum", "target", "average", "averaged", "swa", "k"}  # k: MoCo's encoder_k
STUDENT = {"student", "query", "online", "current", "q"}  # current: Lightning's current_model_state
HEADS = ("fc", "classifier", "head", "heads")  # where torchvision's models and most others have their classifier


CURE = "name the architecture that was saved, or build it and use selfclean_hooks.embedding.load_weights"


def load_into(module: nn.Module, file: Checkpoint, name: str, cure: str = CURE) -> None:
    """Load the weights of a file into a module, in its own precision and on its own device: all of them or none.

    Args:
        module: whose parameters and buffers are overwritten.
        file: the checkpoint.
        name: name of the module in messages.
        cure: what to do where they do not fit.

    Raises:
        BackboneError: they do not fit, or one is not finite.
    """
    if any(is_lazy(tensor) or tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise BackboneError(f"{name} has parameters without memory: run one batch through it, or call to_empty, first")
    own, front = tensors_of(module), check_fit(module, file, name, cure)
    values = file.load([key for name in own if (key := f"{front}{name}") in file.tensors])
    state = {key[len(front) :]: value for key, value in values.items()}
    _check_finite(own, state, file)
    module.load_state_dict(state, strict=False)  # names and shapes were checked above


def check_fit(module: nn.Module, file: Checkpoint, name: str, cure: str = CURE) -> str:
    """Check that the weights of a file have the names and shapes of a module's; they are not read.

    Args:
        module: may be without memory, on torch's device "meta".
        file: the checkpoint.
        name: name of the module in messages.
        cure: what to do where they do not fit.

    Returns:
        The prefix of their names.

    Raises:
        BackboneError: they do not fit.
    """
    own = tensors_of(module)
    front = find_prefix(own, file)
    found = strip_prefix(front, file)
    wrong = [*_names_wrong(own, found, classifiers(module)), *_values_wrong(own, found)]
    if wrong:
        hint = " (pos_embed follows the image size in training)" if "pos_embed" in " ".join(wrong) else ""
        raise BackboneError(f"{file.path} does not fit {name}: {'; '.join(wrong)}{hint}: {cure}")
    if nbytes(own.values()) > LARGER * file.size + SMALL:
        raise BackboneError(
            f"{file.path} must hold all weights of {name}, {nbytes(own.values()) >> 20} MB, got {file.size >> 20} MB "
            "in which the same ones are used again and again: save the state_dict() of the module itself"
        )
    return front


def find_prefix(own: Mapping[str, Tensor], file: Checkpoint) -> str:
    """The prefix of a module's names in a file, by the rule; if none fits, the nearest one.

    Raises:
        BackboneError: several fit equally well, and their weights differ.
    """
    names = {name for name in own if not name.endswith(COUNTER)}
    counts = Counter(front for key in file.tensors for front, name in _splits(key) if name in names)
    fits = [front for front, count in counts.items() if count == len(names)]
    if not fits:
        return max(counts, key=lambda front: (counts[front], -len(front)), default="")
    fits = [front for front in fits if not _values_wrong(own, strip_prefix(front, file))] or fits
    best = min(map(_standing, fits))
    tied = [front for front in fits if _standing(front) == best]
    if not all(_alike(names, file, tied[0], other) for other in tied[1:]):
        raise BackboneError(
            f"{file.path} must hold one set of weights, got several that fit: {', '.join(map(repr, sorted(tied)))}: "
            "save the state_dict() of the one that is meant"
        )
    return tied[0]


def strip_prefix(front: str, file: Checkpoint) -> dict[str, StoredTensor]:
    """The tensors whose names have this prefix, by the rest of their names."""
    return {key[len(front) :]: value for key, value in file.tensors.items() if key.startswith(front)}


def classifiers(module: nn.Module) -> tuple[str, ...]:
    """Names of the classifier's parts of which a module does without."""
    config: Any = getattr(module, "pretrained_cfg", None)
    named = config.get("classifier") if isinstance(config, Mapping) else None
    names = HEADS if named is None else (named,) if isinstance(named, str) else tuple(named)
    parts = dict(module.named_modules())
    return tuple(name for name in names if isinstance(parts.get(name), (nn.Identity, type(None))))


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """Each way to split a name before or after its dots: ("", "a.b"), ("a.", "b")."""
    for at in (0, *(match.end() for match in re.finditer(r"\.", key))):
        yield key[:at], key[at:]


def _standing(front: str) -> tuple[int, int]:
    """The lower, the better."""
    words = set(re.split(r"[._]", front))
    rank = 0 if words & AVERAGED else 2 if words & STUDENT else 1
    return len([part for part in front.split(".") if part and part not in WRAPPERS]), rank


def _alike(names: Collection[str], file: Checkpoint, one: str, other: str) -> bool:
    """Whether the weights under two prefixes are the same; pair by pair, as each set may fill the memory."""
    for a, b in ((f"{one}{name}", f"{other}{name}") for name in names):
        stored, twin = file.tensors[a], file.tensors[b]
        if stored.kind or (stored.kind, stored.dtype, stored.shape) != (twin.kind, twin.dtype, twin.shape):
            return False
        if not stored.is_same_place(twin) and not torch.equal(*file.load([a, b]).values()):
            return False
    return True


def _names_wrong(own: Mapping[str, Tensor], found: Mapping[str, StoredTensor], heads: tuple[str, ...]) -> Iterator[str]:
    missing = [name for name in own if name not in found and not name.endswith(COUNTER)]
    left_out = tuple(f"{head}." for head in heads)
    unknown = [name for name in found if name not in own and not name.endswith(COUNTER)]
    unknown = [name for name in unknown if not name.startswith(left_out)]
    if missing:
        yield f"the file lacks {_listed(missing)}"
    if unknown:
        yield f"the model lacks {_listed(unknown)}"


def _values_wrong(own: Mapping[str, Tensor], found: Mapping[str, StoredTensor]) -> list[str]:
    """What cannot be copied: no plain tensor, another shape, or integers for floats (quantized weights)."""
    wrong = []
    for name, a, b in ((name, own[name], found[name]) for name in own if name in found):
        if b.kind:
            wrong.append(f"{name}: model {a.dtype}, file a tensor that is {b.kind}")
        elif tuple(a.shape) != b.shape:
            wrong.append(f"{name}: model {tuple(a.shape)}, file {b.shape}")
        elif a.is_floating_point() != b.dtype.is_floating_point:
            wrong.append(f"{name}: model {a.dtype}, file {b.dtype}")
    return [_listed(wrong)] if wrong else []


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(visible, names[:5])) + more


def _check_finite(own: Mapping[str, Tensor], state: Mapping[str, Tensor], file: Checkpoint) -> None:
    """No NaN, and infinity only where the module has it too (masks of attention)."""
    for name, value in state.items():
        if value.is_floating_point():
            new, old = value.float(), own[name].cpu().float()
            if bool((new.isnan() | (new.isinf() & ~old.isinf())).any()):
                raise BackboneError(f"{file.path} has NaN or infinity in {name}: use a checkpoint from before that")
