"""Tiny Trainers of digits, as images and as texts, and what they were trained on."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import torch
import transformers as installed
from torch import Tensor, nn

from selfclean_hooks import Policy, Thresholds
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

transformers: Any = installed  # its types are incomplete

PIXELS = nn.Flatten()
DROP = Policy("drop", "drop", "drop", leakage="drop")
FIRM = Thresholds(near_duplicates=0.41, label_errors=0.4)
CHOICES: dict[str, Any] = {"backbone": PIXELS, "thresholds": FIRM, "output_dir": None}
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_labels": 10,
}


@lru_cache
def contaminated(n: int = 60) -> tuple[Any, Any]:
    """(N, 8, 8) digits, some of them copies or none, and labels, some of them wrong."""
    images, labels = digits()
    planted = contaminate(images[:n], labels[:n], off_topic_patches(20, 8), seed=0)
    return np.asarray(planted.images), np.asarray(planted.labels)


def as_dataset(images: Any, labels: Any) -> huggingface.Dataset:
    """Of Hugging Face, with pixel values made when items are read."""
    columns = {"pixels": list(images), "label": [int(label) for label in labels], "position": list(range(len(images)))}
    features = huggingface.Features(
        pixels=huggingface.Image(), label=huggingface.ClassLabel(10), position=huggingface.Value("int64")
    )
    return huggingface.Dataset.from_dict(columns, features=features).with_transform(pixel_values)


def pixel_values(rows: dict[str, Any]) -> dict[str, Any]:
    made = [torch.from_numpy(np.array(image)).float()[None] / 127.5 - 1 for image in rows["pixels"]]
    return {"pixel_values": made, "labels": rows["label"], "position": rows["position"]}


class Collator:
    """Batches, and the positions that were in them."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        self.seen += [int(item["position"]) for item in items]
        labels = torch.tensor([int(item["labels"]) for item in items])
        return {"pixel_values": torch.stack([item["pixel_values"] for item in items]), "labels": labels}


def vit() -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SIZES, image_size=8, patch_size=4, num_channels=1)
    return transformers.ViTForImageClassification(config)


def image_trainer(folder: Path, train: Any = None, eval_dataset: Any = None, **arguments: Any) -> Any:
    usual: dict[str, Any] = {
        "use_cpu": True,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        "num_train_epochs": 1,
        "per_device_train_batch_size": 32,
        "seed": 0,
        "report_to": [],
    }
    args = transformers.TrainingArguments(str(folder), **{**usual, **arguments})
    train = as_dataset(*contaminated()) if train is None else train
    return transformers.Trainer(vit(), args, Collator(), train, eval_dataset)


def weights(trainer: Any) -> list[Tensor]:
    return [value.clone() for value in trainer.model.state_dict().values()]
