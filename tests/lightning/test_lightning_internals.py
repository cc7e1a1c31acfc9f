"""The private names of Lightning that are relied on: which, and that both installed packages have them."""

import importlib
from typing import Any

import pytest
from torch import nn
from torch.utils.data import DataLoader

from selfclean_hooks_lightning import lightning_internals
from selfclean_hooks_lightning.lightning_internals import PRIVATE_NAMES
from tests.helpers.private_names import ROOT, private_names
from tests.training.loader_cases import Numbers

NAMES = [(owner, name) for owner, names in PRIVATE_NAMES.items() for name in names]


@pytest.fixture(scope="module", params=["lightning.pytorch", "pytorch_lightning"])
def owners(request: pytest.FixtureRequest) -> dict[str, Any]:
    """An object of each kind that PRIVATE_NAMES lists."""
    package: Any = importlib.import_module(request.param)
    trainer = package.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False)
    module = type("Net", (package.LightningModule,), {"forward": lambda self, x: x})()
    module.layer = nn.Linear(1, 1)
    combined = importlib.import_module(f"{request.param}.utilities.combined_loader").CombinedLoader
    return {
        "fit loop": trainer.fit_loop,
        "validation loop": trainer.fit_loop.epoch_loop.val_loop,
        "CombinedLoader": combined([DataLoader(Numbers(2))]),
        "trainer": trainer,
        "compiled LightningModule": module,
        "data fetcher of dataloader_iter": importlib.import_module(f"{request.param}.loops.fetchers"),
        "version": f"{request.param} {package.__version__}",
    }


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_this_version_of_lightning_has_the_name(owner: str, name: str, owners: dict[str, Any]) -> None:
    assert hasattr(owners[owner], name), (
        f"{owners['version']} has no {name} ({owner}), which {lightning_internals.__name__} relies on"
    )


def test_the_table_lists_what_the_module_uses() -> None:
    code = (ROOT / "integrations/selfclean_hooks_lightning/lightning_internals.py").read_text(encoding="utf-8")
    assert private_names(code) == {name for _, name in NAMES}
