"""One vector a sample from a model of transformers, and images as it takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from selfclean_hooks.data.images import to_rgb
from selfclean_hooks.embedding.encoders.features import penultimate
from selfclean_hooks.errors import BackboneError, DataError

EMBEDS = ("image_embeds", "text_embeds", "pooler_output")  # (B, D), or (B, D, 1, 1) of convolutions
CLASS_TOKENS = ("cls_token", "class_embedding")
LONGEST = 512  # tokens of a text, where a model says no less


class PooledFeatures:
    """(B, D) features of a batch by a model of transformers, its classifying head left aside.

    By the first of these that there is: the features of a model of images and text, the output of its pooler, the class
    token of an image, the mean over positions, or over the tokens of a text that are no padding. The pooler of BERT and
    ViT, a layer that few checkpoints hold, is passed over.

    Args:
        model: a PreTrainedModel.
        tokenizer: for batches of text.
    """

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        self.model, self.tokenizer = model, tokenizer

    def __call__(self, batch: Any) -> Tensor:
        """The features of a tensor (images, token ids), a list of texts or token ids, or a dict of inputs."""
        inputs, body = self._inputs(batch), self.model.base_model
        if not hasattr(body, "config"):  # a model of timm in the hull of one of transformers
            return penultimate(body, inputs[self.model.main_input_name])
        if is_dual(body) and "pixel_values" in inputs:
            return self._vector(body.get_image_features(pixel_values=inputs["pixel_values"]), {})
        if getattr(body.config, "is_encoder_decoder", False):
            body = body.get_encoder()
        with _unmasked(body.config):
            return self._vector(body(**inputs), inputs)

    def _inputs(self, batch: Any) -> dict[str, Any]:
        """What the model is called with, on its device and in its precision."""
        if isinstance(batch, (list, tuple)) and all(isinstance(text, str) for text in batch):
            batch = self._tokens(list(batch))
        if not isinstance(batch, Mapping):
            batch = self._named(batch)
        known, place, kind = signature(self.model.base_model.forward).parameters, self.model.device, self.model.dtype
        return {
            name: value.to(place, kind if value.is_floating_point() else None)
            for name, value in batch.items()
            if name in known and isinstance(value, Tensor)
        }

    def _tokens(self, texts: list[str]) -> Any:
        if self.tokenizer is None:
            raise BackboneError(
                f"{type(self.model).__name__} takes token ids, got texts: load it from a folder that holds its "
                "tokenizer, or tokenize the data set"
            )
        longest = min(self.tokenizer.model_max_length, LONGEST)
        return self.tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")

    def _named(self, batch: Any) -> dict[str, Any]:
        """Images by the name that the model has for them; token ids of any lengths with the mask of the real ones."""
        name = "pixel_values" if takes_images(self.model) else self.model.main_input_name
        if name != "input_ids":
            return {name: batch}
        padding = getattr(self.model.config, "pad_token_id", None)
        rows = [torch.as_tensor(row) for row in batch]
        ids = pad_sequence(rows, batch_first=True, padding_value=padding or 0)
        lengths = torch.tensor([[len(row)] for row in rows], device=ids.device)
        real = ids != padding if padding is not None else torch.arange(ids.shape[1], device=ids.device) < lengths
        return {name: ids, "attention_mask": real.long()}

    def _vector(self, output: Any, inputs: Mapping[str, Any]) -> Tensor:
        if isinstance(output, Tensor):  # of get_image_features, in older versions
            return output
        has_own_pooler = hasattr(getattr(self.model.base_model, "pooler", None), "dense")
        for name in EMBEDS[: 2 if has_own_pooler else 3]:
            vector = getattr(output, name, None)
            if isinstance(vector, Tensor) and vector.flatten(1).shape[1] == vector.shape[1]:
                return vector.flatten(1)
        hidden = getattr(output, "last_hidden_state", None)
        if not isinstance(hidden, Tensor) or hidden.ndim not in (3, 4):
            raise BackboneError(
                f"{type(self.model).__name__} must give hidden states (last_hidden_state, pooler_output), got a "
                f"{type(output).__name__}: pass the part of it that does, or a function from a batch to (B, D)"
            )
        if hidden.ndim == 4:
            return torch.mean(hidden, (2, 3))
        if takes_images(self.model):
            return hidden[:, 0] if _has_class_token(self.model) else hidden.mean(1)
        mask = inputs.get("attention_mask")
        if mask is None or mask.shape != hidden.shape[:2]:
            return hidden.mean(1)
        weights: Tensor = mask.to(hidden.dtype)[..., None]
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


@contextmanager
def _unmasked(config: Any) -> Iterator[None]:
    """Nothing of an image is left out at random, as masked autoencoders do."""
    before = getattr(config, "mask_ratio", None)
    try:
        if before is not None:
            config.mask_ratio = 0.0
        yield
    finally:
        if before is not None:
            config.mask_ratio = before


def is_dual(model: Any) -> bool:
    """Whether a model embeds images and texts, as CLIP does."""
    return callable(getattr(model, "get_image_features", None))


def takes_images(model: Any) -> bool:
    """Whether images are what a model embeds; of CLIP and its like they are what is audited."""
    return model.main_input_name == "pixel_values" or is_dual(model.base_model)


def _has_class_token(model: nn.Module) -> bool:
    return any(name.rsplit(".", 1)[-1] in CLASS_TOKENS for name, _ in model.named_parameters())


@dataclass(frozen=True)
class ProcessedImage:
    """An image as an image processor of transformers prepares it."""

    processor: Any
    channels: int

    @property
    def says(self) -> str:
        """Its settings."""
        return str(self.processor.to_json_string())

    def __call__(self, image: Any) -> Tensor:
        """(C, H, W) of a PIL image."""
        made = self.processor(images=_in_channels(image, self.channels), return_tensors="pt")["pixel_values"]
        tensor: Tensor = torch.as_tensor(made[0])
        return tensor


@dataclass(frozen=True)
class FittedImage:
    """An image in the size of a model's input, scaled to [-1, 1]."""

    size: tuple[int, int]  # height, width
    channels: int

    @classmethod
    def of(cls, model: Any) -> FittedImage:
        """What the configuration says; 224 pixels a side and three channels where it says nothing."""
        config = model.config
        config = getattr(config, "vision_config", config)
        side = getattr(config, "image_size", None) or 224
        height, width = (side, side) if isinstance(side, int) else tuple(side)[-2:]
        return cls((int(height), int(width)), getattr(config, "num_channels", None) or 3)

    @property
    def says(self) -> str:
        """Its settings."""
        return repr(self)

    def __call__(self, image: Any) -> Tensor:
        """(C, H, W) of a PIL image."""
        resized = _in_channels(image, self.channels).resize(self.size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, np.float32).reshape(*self.size, self.channels) / 127.5 - 1
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _in_channels(image: Any, channels: int) -> Image.Image:
    if not isinstance(image, Image.Image):
        raise DataError(
            f"this backbone embeds images of up to 4 channels, got an array {tuple(image.shape)}: use "
            'backbone="self-supervised", or pass a module or function of your own'
        )
    return to_rgb(image).convert("L") if channels == 1 else to_rgb(image)
