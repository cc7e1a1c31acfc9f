"""An encoder with random weights in the place of its own: what the representation is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.features import tensors_of
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.torch_internals import Convolution, Normalization

SEED = 0  # always the same draw: figures of two audits differ by what was audited
LAYERS = (nn.Linear, Convolution)
NORMS = (Normalization, nn.LayerNorm, nn.GroupNorm)
STATISTICS = {"running_mean": 0.0, "running_var": 1.0}
PLAIN: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}  # whatever the defaults are
SPREAD = 0.02  # of tokens, positions and whatever else has two dimensions


def random_copy(encoder: Encoder) -> Encoder | None:
    """The encoder with random weights for the time of an embedding; None for a function or a module without weights.

    Nothing is copied but the weights: the module has the random ones while `ready()` lasts.
    """
    state = random_state(encoder.module) if encoder.module is not None else {}
    if not state:
        return None
    digest = encoder.fingerprint and fingerprint(encoder.fingerprint, "random weights", str(SEED))
    return replace(encoder, name=f"{encoder.name}, random weights", fingerprint=digest, state=state)


def random_state(module: nn.Module, seed: int = SEED) -> dict[str, Tensor]:
    """Weights as a module of this structure starts with; the module and global random state are left as they are.

    Linear and convolutional layers are drawn as torch does, from +-1/sqrt(fan in), embeddings from N(0, 1), norm layers
    start at 1 and 0 with statistics 0 and 1, other biases at 0, and what else has two or more dimensions is drawn from
    N(0, 0.02^2). The rest (temperatures, layer scales, masks, integers) stays: it is not in the result.

    Args:
        module: may be on any device.
        seed: of the draw, which is made on the processor: the same on every device.

    Returns:
        Name in `state_dict`: tensor on the device and of the dtype of the module's own.
    """
    generator, held, drawn = torch.Generator().manual_seed(seed), tensors_of(module), dict[str, Tensor]()
    seen: set[int] = set()
    for name, part, short, own in _tensors(module):
        if name in held and own.is_floating_point() and own.numel() and id(own) not in seen:
            seen.add(id(own))  # tied weights are one tensor
            value = _start(part, short, own, generator)
            if value is not None:
                drawn[name] = value.to(own.device, own.dtype)
    return drawn


def _tensors(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Name, the layer it belongs to, name there, and the tensor itself."""
    for prefix, part in module.named_modules():
        held = (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
        for short, tensor in held:
            yield f"{prefix}.{short}" if prefix else short, part, short, tensor


def _start(part: nn.Module, name: str, own: Tensor, generator: torch.Generator) -> Tensor | None:
    """What a tensor of a layer starts as, on the processor; None: it stays."""
    if not isinstance(own, nn.Parameter):
        return torch.full(own.shape, STATISTICS[name], **PLAIN) if name in STATISTICS else None
    if isinstance(part, LAYERS) and name in ("weight", "bias"):
        weight: Any = part.weight
        bound = 1 / math.sqrt(max(1, weight[0].numel()))  # as torch: transposed convolutions too
        return (2 * torch.rand(own.shape, generator=generator, **PLAIN) - 1) * bound
    if is_norm(part) and own.ndim == 1:
        return torch.full(own.shape, 0.0 if "bias" in name or name == "beta" else 1.0, **PLAIN)
    if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
        return torch.randn(own.shape, generator=generator, **PLAIN)
    if name.endswith("bias"):
        return torch.zeros(own.shape, **PLAIN)
    return SPREAD * torch.randn(own.shape, generator=generator, **PLAIN) if own.ndim > 1 else None


def is_norm(part: nn.Module) -> bool:
    """Whether a layer normalises; others than torch's own by their name (RMSNorm, LlamaRMSNorm, ...)."""
    return isinstance(part, NORMS) or type(part).__name__.endswith("Norm")
