"""`AuditedDataset` around a training set with random augmentation, in a DataLoader."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from selfclean_hooks import AuditedDataset, Policy
from selfclean_hooks.testing import contaminate, digits, off_topic_patches


class Digits(Dataset[tuple[Tensor, int]]):
    """A data set as people write them: images, labels, and a random transform for training."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self.images, self.targets, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.targets[index])


images, labels = digits()
planted = contaminate(images, labels, off_topic_patches(100, 8), seed=0)
augment = transforms.Compose(
    [transforms.RandomRotation(15), transforms.RandomCrop(8, padding=1), transforms.ToTensor()]
)
train = Digits(planted.images, planted.labels, augment)

# the audit sees the images without the random rotation and crop; training goes on seeing them
clean = AuditedDataset(
    train, policy=Policy(near_duplicates="drop", off_topic="drop"), backbone=nn.Flatten(), progress=False
)
print(f"{len(clean)} of {len(train)} samples are left; position 0 is sample {clean.indices[0]} of the original")
print(clean.audit.summary.to_string())

batch, targets = next(iter(DataLoader(clean, batch_size=32, shuffle=True)))
print(tuple(batch.shape), tuple(targets.shape))
assert len(clean.targets) == len(clean) < len(train)
