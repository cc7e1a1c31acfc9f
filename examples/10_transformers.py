"""A transformers Trainer: one line before `train()`, and what the policy drops is not trained on.

The model gives the features itself once it is pretrained, with the image processor of the Trainer. This one is not: a
small encoder is trained on the images.
"""

import tempfile
from typing import Any

import datasets
import numpy as np
import torch
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from selfclean_hooks import Policy
from selfclean_hooks.testing import contaminate, digits, off_topic_patches
from selfclean_hooks_transformers import audit_trainer


def as_dataset(images: Any, labels: Any) -> datasets.Dataset:
    """Images and labels as Hugging Face holds them, made into what the model takes when items are read."""
    columns = {"image": list(images), "label": [int(label) for label in labels]}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(10))
    return datasets.Dataset.from_dict(columns, features=features).with_transform(model_inputs)


def model_inputs(rows: dict[str, Any]) -> dict[str, Any]:
    pixels = [torch.from_numpy(np.array(image)).float()[None] / 127.5 - 1 for image in rows["image"]]
    return {"pixel_values": pixels, "labels": rows["label"]}


images, labels = digits()
planted = contaminate(images[:500], labels[:500], off_topic_patches(60, 8), seed=0)
both = np.concatenate([images[500:600], planted.images[:10]])  # ten validation images are training images, too
train, val = as_dataset(planted.images, planted.labels), as_dataset(both, [*labels[500:600], *planted.labels[:10]])

sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_labels": 10}
config = ViTConfig(image_size=8, patch_size=2, num_channels=1, intermediate_size=64, **sizes)
with tempfile.TemporaryDirectory() as folder:
    args = TrainingArguments(
        folder, num_train_epochs=3, use_cpu=True, remove_unused_columns=False, disable_tqdm=True, report_to=[]
    )
    trainer = Trainer(ViTForImageClassification(config), args, train_dataset=train, eval_dataset=val)

    policy = Policy(near_duplicates="drop", off_topic="drop", label_errors="drop", leakage="drop")
    audit = audit_trainer(trainer, policy=policy, output_dir=f"{folder}/audit")
    trainer.train()

assert audit is not None
print(audit.summary.to_string())
print(f"trained on {len(audit.clean_indices)} of {len(train)}")
assert len(audit.clean_indices) < len(train)
assert not set(range(10)) & set(audit.clean_indices.tolist()), "what validation holds as well is not trained on"
