"""`DataAudit` in a Lightning Trainer: a DataModule, a torchvision model, audits before the first step and later."""

import warnings
from pathlib import Path
from tempfile import mkdtemp

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from selfclean_hooks import Policy
from selfclean_hooks.testing import contaminate, digits, off_topic_patches
from selfclean_hooks_lightning import DataAudit


class Digits(lightning.LightningDataModule):
    """scikit-learn's digits; wrong labels, near copies and photographs in the training data, some of it in val too."""

    def setup(self, stage: str) -> None:
        images, labels = digits()
        planted = contaminate(images[:1000], labels[:1000], off_topic_patches(100, 8), seed=0)
        self.train, self.wrong = self.data(planted.images, planted.labels), planted.is_label_error
        val = np.concatenate([images[1000:1300], planted.images[:20]])
        self.val = self.data(val, np.concatenate([labels[1000:1300], planted.labels[:20]]))
        self.test = self.data(images[1300:], labels[1300:])

    def data(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> TensorDataset:
        pixels = torch.from_numpy(images).float().unsqueeze(1).expand(-1, 3, -1, -1) / 255
        return TensorDataset(nn.functional.interpolate(pixels, size=16), torch.from_numpy(labels))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=64, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.val, batch_size=64)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.test, batch_size=64)


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = resnet18(num_classes=10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.model(x)
        return scores

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean(), prog_bar=True)

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


folder = Path(mkdtemp())
policy = Policy(near_duplicates="drop", off_topic="drop", label_errors="drop", leakage="drop")
audit = DataAudit(policy=policy, audit_epochs=(0, 2), output_dir=folder / "audit")
trainer = lightning.Trainer(
    max_epochs=3, callbacks=[audit], accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False
)
data = Digits()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    trainer.fit(Classifier(), data)
print(*(f"\n{w.message}" for w in caught if "DataAudit" in str(w.message)), sep="\n")
print("\nin force since epoch 2, with the features of the classifier itself:")
print(audit.audit.summary.to_string())
print(audit.audit.leakage.head(3).to_string())
print(sorted(path.name for path in (folder / "audit").iterdir()))

wrong, kept = data.wrong.mean(), data.wrong[audit.audit.clean_indices].mean()
print(f"wrong labels: {wrong:.1%} of the training data, {kept:.1%} of what is trained on")
assert kept < wrong
assert (audit.audit.leakage["index_2"] >= 300).any(), "samples that were copied into val are found"
