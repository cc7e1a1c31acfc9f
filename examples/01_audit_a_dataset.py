"""Audit a data set with a model of your own, look at the worst samples, train on the clean indices."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from selfclean_hooks import Policy, audit
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

# scikit-learn's digits with wrong labels, near copies and patches of photographs planted in them
images, labels = digits()
planted = contaminate(images[:900], labels[:900], off_topic_patches(100, 8), seed=0)
dataset = TensorDataset(
    torch.from_numpy(planted.images).float().unsqueeze(1) / 255, torch.from_numpy(planted.labels).long()
)

# any nn.Module serves; of a classifier the features before its last layer are taken. Here one trained for three epochs
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
for _ in range(3):
    for x, y in DataLoader(dataset, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()

a = audit(dataset, model, policy=Policy(near_duplicates="drop", label_errors="drop"), progress=False)
print(a.summary.to_string())
print("\nmost suspicious labels:")
print(a.frame.sort_values("label_score")[["label_score", "given_label", "predicted_label"]].head().to_string())

clean = Subset(dataset, a.clean_indices.tolist())
print(f"\n{len(clean)} of {len(dataset)} samples are kept")

worst = a.frame["label_score"].sort_values().index[:20]
assert planted.is_label_error[worst].sum() >= 10, "half of the twenty worst labels are planted errors"
