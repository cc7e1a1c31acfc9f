"""`AuditedDataset` around a training set with random augmentation, in a DataLoader."""

import numpy as np
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from selfclean_hooks import AuditedDataset, Policy
from selfclean_hooks.testing import contaminate, digits, off_topic_patches


class Digits(Dataset):  # type: ignore[type-arg]
    """A data set as people write them: pictures, labels, and a random transform for training."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: object) -> None:  # type: ignore[type-arg]
        self.images, self.targets, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.targets[index])  # type: ignore[operator]


images, labels = digits()
planted = contaminate(images, labels, off_topic_patches(100, 8), seed=0)
augment = transforms.Compose(
    [transforms.RandomRotation(15), transforms.RandomCrop(8, padding=1), transforms.ToTensor()]
)
train = Digits(planted.images, planted.labels, augment)

# the audit sees the pictures without the random rotation and crop; training goes on seeing them
clean = AuditedDataset(
    train, policy=Policy(near_duplicates="drop", off_topic="drop"), backbone=nn.Flatten(), progress=False
)
print(f"{len(clean)} of {len(train)} samples are left; position 0 is sample {clean.indices[0]} of the original")
print(clean.audit.summary.to_string())

batch, targets = next(iter(DataLoader(clean, batch_size=32, shuffle=True)))
print(tuple(batch.shape), tuple(targets.shape))
assert len(clean.targets) == len(clean) < len(train)
