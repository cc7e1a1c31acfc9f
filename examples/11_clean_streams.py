"""`clean`: Hugging Face splits stay splits, and a stream stays a stream, without what their audit drops."""

import datasets
import numpy as np
from torch import Tensor

from selfclean_hooks import clean
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

images, labels = digits()
planted = contaminate(images[:500], labels[:500], off_topic_patches(60, 8), seed=0)
features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(10), id=datasets.Value("int64"))


def as_dataset(images: np.ndarray, labels: np.ndarray) -> datasets.Dataset:
    columns = {"image": list(images), "label": labels.tolist(), "id": list(range(len(images)))}
    return datasets.Dataset.from_dict(columns, features=features)


def pixels(batch: Tensor) -> Tensor:
    """The features: digits of 8 x 8 pixels need no network. Leave `backbone=` out for images of any other kind."""
    return batch.flatten(1)


train, test = as_dataset(planted.images, planted.labels), as_dataset(images[450:600], labels[450:600])

# splits: training samples that the test data holds as well are dropped, too
splits = clean(datasets.DatasetDict(train=train, test=test), backbone=pixels, output_dir="audit-of-splits")
counts = f"{len(splits['train'])} of {len(train)} training samples, {len(splits['test'])} of {len(test)} others"
print(f"{type(splits).__name__}: {counts}")

# a stream: one pass embeds and audits it, each later pass leaves out by key; no image is kept in memory or on disk
stream = clean(train.to_iterable_dataset(num_shards=4), backbone=pixels, key="id")
seen = [row["id"] for row in stream.shuffle(seed=0)]
print(f"{type(stream).__name__}: {len(seen)} of {len(train)} samples in one pass")
assert len(splits["test"]) == len(test)
assert len(splits["train"]) < len(seen) < len(train), "what leaks into the test data is left out of the splits alone"
