"""Plain loaders; limits stop a training before its first step, and a run that is resumed drops the same samples."""

from pathlib import Path
from tempfile import mkdtemp

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from selfclean_hooks import Limits, Policy
from selfclean_hooks.errors import ContaminationError
from selfclean_hooks.testing import contaminate, digits, off_topic_patches
from selfclean_hooks_lightning import DataAudit

images, labels = digits()
planted = contaminate(images, labels, off_topic_patches(100, 8), seed=0)
pixels = torch.from_numpy(planted.images).float().flatten(1) / 255
train = DataLoader(TensorDataset(pixels, torch.from_numpy(planted.labels)), batch_size=64, shuffle=True)


class Classifier(lightning.LightningModule):
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.steps += 1
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 2e-3)


def trainer(audit: DataAudit, epochs: int) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs,
        callbacks=[audit],
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


folder = Path(mkdtemp())
pixels_as_features = nn.Identity()  # any module or function from a batch to (B, D) will do
strict = DataAudit(limits=Limits(label_errors=0.01), backbone=pixels_as_features, output_dir=folder / "audit")
module = Classifier()
try:
    trainer(strict, 1).fit(module, train)
except ContaminationError as error:
    print(error, end="\n\n")
assert module.steps == 0
assert (folder / "audit" / "report.html").exists()

first = DataAudit(policy=Policy(label_errors="drop"), backbone=pixels_as_features, output_dir=folder / "audit")
run = trainer(first, 2)
run.fit(Classifier(), train)
run.save_checkpoint(folder / "half.ckpt")

resumed = DataAudit(policy=Policy(label_errors="drop"), backbone=pixels_as_features, output_dir=folder / "audit")
trainer(resumed, 4).fit(Classifier(), train, ckpt_path=folder / "half.ckpt")
assert not resumed.audits, "the drop list came with the checkpoint: no second audit"
print(f"resumed without another audit, {len(first.audit) - len(first.audit.clean_indices)} samples dropped as before")
