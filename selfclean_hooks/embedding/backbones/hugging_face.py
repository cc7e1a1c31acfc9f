"""Models of Hugging Face transformers: as modules of the user's, or by name as "hf:facebook/dinov2-small"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import huggingface_hub
import torch
from torch import nn

from selfclean_hooks.embedding.encoders.encoder import Encoder, of_module
from selfclean_hooks.embedding.encoders.pooling import FittedImage, PooledFeatures, ProcessedImage, takes_images
from selfclean_hooks.embedding.weights.timm_hub import HUB_SECONDS
from selfclean_hooks.errors import BackboneError, needs
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.rng import preserve_rng_state

PREFIX = "hf:"
UNFITTED = "its image processor is not known, so images are resized to {} and scaled to [-1, 1]"


def is_transformer(module: nn.Module) -> bool:
    """Whether a module is a model of transformers; the package is not imported for that."""
    known = ("PreTrainedModel", "transformers.modeling_utils")
    return any((base.__name__, base.__module__) == known for base in type(module).__mro__)


def of_transformer(model: Any, device: str | torch.device = "auto", processor: Any = None, name: str = "") -> Encoder:
    """A model of transformers as an encoder of what it is made for: images, text or token ids, sound.

    Images are prepared by its image processor, token ids padded and masked, and of the hidden states the pooled ones
    are taken (see `PooledFeatures`), those below a head that classifies.

    Args:
        model: on a device that it is not on, a copy is used.
        device: "auto": where the model is.
        processor: its image processor or tokenizer; None: that of the place where it was loaded from.
        name: of the encoder; "": that of the class.
    """
    encoder = of_module(model, device)
    inner: Any = encoder.module
    loaded = processor if processor is not None else _processor(inner.name_or_path, takes_images(inner))
    if not takes_images(inner):
        tokenizer = loaded if hasattr(loaded, "pad") else None
        return replace(encoder, name=name or encoder.name, features=PooledFeatures(inner, tokenizer), pads=True)
    loaded = getattr(loaded, "image_processor", loaded)  # of a processor of images and text
    prepare = FittedImage.of(inner) if loaded is None else ProcessedImage(loaded, FittedImage.of(inner).channels)
    note = UNFITTED.format(" x ".join(map(str, prepare.size))) if isinstance(prepare, FittedImage) else ""
    return replace(
        encoder,
        name=name or encoder.name,
        features=PooledFeatures(inner),
        fingerprint=fingerprint(encoder.fingerprint or "", prepare.says),
        prepare=prepare,
        note=note,
    )


def of_hub(name: str, device: str | torch.device) -> Encoder:
    """The model of a name on the Hugging Face hub, or in a folder that `save_pretrained` wrote; no code there is run.

    Raises:
        BackboneError: there is none, it cannot be loaded, or transformers is not installed.
    """
    with needs("transformers", f"the backbone '{PREFIX}{name}'"):
        import transformers
    from_cache = os.path.isdir(name) or _is_cached(name)
    if not from_cache:
        _check_reachable(name)
    try:
        with _quiet(transformers), preserve_rng_state():  # a model draws weights before it is given any
            model = transformers.AutoModel.from_pretrained(name, local_files_only=from_cache).eval()
    except Exception as error:  # each architecture and format raises its own
        raise BackboneError(f"{name!r} cannot be loaded as a model of transformers: {_first_line(error)}") from error
    encoder = of_transformer(model, device, name=f"{PREFIX}{name}")
    chosen = f"backbone: {PREFIX}{name}, {type(model).__name__}"
    return replace(encoder, note="; ".join(filter(None, (chosen, encoder.note))))


def _processor(place: str, is_image: bool) -> Any:
    """What prepares inputs for the model that was loaded from there; None if nothing is found without the network."""
    if not place:
        return None
    import transformers

    kind = transformers.AutoImageProcessor if is_image else transformers.AutoTokenizer
    with suppress(Exception), _quiet(transformers):  # whatever is wrong there, images can be fitted without
        return kind.from_pretrained(place, local_files_only=True)
    return None


def _is_cached(name: str) -> bool:
    with suppress(Exception):  # a name that cannot be one of the hub
        return isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str)
    return False


def _check_reachable(name: str) -> None:
    try:
        huggingface_hub.HfApi().model_info(name, timeout=HUB_SECONDS)
    except Exception as error:  # every HTTP library that the hub has used raises its own
        raise BackboneError(
            f"the model {name!r} is no folder, is not in the local cache, and the hub does not have it or cannot be "
            f"reached ({type(error).__name__}): check the name, connect once, or pass the folder of a saved model"
        ) from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Loading without lines about heads that are left out, and without a bar."""
    logging = transformers.utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
