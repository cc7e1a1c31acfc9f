"""What the tests of representations share: small modules, their features by hand, the features an audit saw."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks.embedding.embed import embed_distributed
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import DataWarning
from tests.lightning.fits import audit_callback, train_data, trainer


def embedded(patch: pytest.MonkeyPatch) -> list[Tensor]:
    """The features of every data set that is read from now on."""
    vectors: list[Tensor] = []

    def reading(*rest: Any, **settings: Any) -> Any:
        found = embed_distributed(*rest, **settings)
        assert found is not None
        vectors.append(torch.from_numpy(found.vectors))
        return found

    patch.setattr("selfclean_hooks.audits.distributed.embed_distributed", reading)
    return vectors


def pixels(batch: Tensor) -> Tensor:
    return batch.flatten(1)


def loader(data: Any = None) -> DataLoader[Any]:
    return DataLoader(data or train_data(60), 16, shuffle=True)


def images(n: int = 60) -> Tensor:
    return train_data(n).x


def taught(net: Any, epochs: int = 1) -> Any:
    """After some training without the callback."""
    trainer(max_epochs=epochs).fit(net, loader())
    return net


def audited(net: Any, folder: Path | None = None, data: Any = None, **settings: Any) -> dict[str, Any]:
    """The manifest of the audit of a fit."""
    callback = audit_callback(folder, **{"backbone": None, **settings})
    with pytest.warns(DataWarning, match="DataAudit of the training data"):
        trainer(callback, max_epochs=1).fit(net, loader(data))
    return dict(callback.audit.provenance)


def by_hand(net: nn.Module, features: Callable[[Any], Any], batch: Any) -> Tensor:
    """In eval mode without gradients, the flags put back as they were."""
    flags = {module: module.training for module in net.modules()}
    net.eval()
    with torch.no_grad():
        found: Tensor = features(batch)
    for module, flag in flags.items():
        module.training = flag
    return found


def encoded(encoder: Encoder, batch: Any) -> Tensor:
    with encoder.ready():
        found: Tensor = encoder.features(batch)
    return found


def close(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-6)


class Plain(lightning.LightningModule):
    """Without normalisation layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh())
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)
