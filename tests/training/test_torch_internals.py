"""The private names of torch that are relied on: which, where, and that the installed version has them."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, dataloader

from selfclean_hooks.utils import torch_internals
from selfclean_hooks.utils.torch_internals import PRIVATE_NAMES
from tests.helpers.private_names import ROOT, private_names, sources

SHIMS = {"torch_internals.py", "lightning_internals.py"}
OTHERS = {"_indices", "_groups", "_qualified_name"}  # of Hugging Face data sets, and of the package itself


@pytest.fixture(scope="module")
def owners() -> dict[str, Any]:
    """An object of each kind that PRIVATE_NAMES lists."""
    iterator = iter(DataLoader(range(4)))  # type: ignore[arg-type]
    module = nn.Linear(2, 2)
    compiled = torch.compile(module, backend="eager")
    module.compile(backend="eager")
    function = torch.compile(lambda x: x + 1, backend="eager")
    return {
        "torch.utils.data.dataloader": dataloader,
        "iterator of a DataLoader": iterator,
        "iterator of a DataLoader with workers": iter(DataLoader(range(4), num_workers=1)),  # type: ignore[arg-type]
        "RandomSampler": RandomSampler(range(4)),
        "torch": torch,
        "torch._C": torch._C,
        "torch.cpu": torch.cpu,
        "torch.nn": [nn.modules.conv, nn.modules.batchnorm],
        "compiled nn.Module": [module, compiled],
        "compiled function": function,
    }


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE_NAMES.items() for name in names])
def test_this_version_of_torch_has_the_name(owner: str, name: str, owners: dict[str, Any]) -> None:
    objects = owners[owner] if isinstance(owners[owner], list) else [owners[owner]]
    assert any(hasattr(each, name) for each in objects), (
        f"torch {torch.__version__} has no {name} ({owner}), which {torch_internals.__name__} relies on"
    )


def test_the_table_lists_what_the_module_uses() -> None:
    listed = {name for names in PRIVATE_NAMES.values() for name in names}
    code = (ROOT / "selfclean_hooks/utils/torch_internals.py").read_text(encoding="utf-8")
    assert private_names(code) | {torch_internals.NEXT_INDEX} == listed


def test_no_other_module_uses_a_private_name() -> None:
    used = {
        path.relative_to(ROOT).as_posix(): names
        for path in sources()
        if path.name not in SHIMS and (names := private_names(path.read_text(encoding="utf-8")) - OTHERS)
    }
    assert used == {}


@pytest.mark.parametrize(
    "code",
    ["x._a", "getattr(x, '_a')", "from torch.nn import _a", "'_a' in vars(x)", "x.y()._a = 1", "hasattr(x, '_a')"],
)
def test_private_names_are_noticed(code: str) -> None:
    assert private_names(code) == {"_a"}


def test_own_private_attributes_are_not() -> None:
    assert private_names("self._a\ncls._b\nx.__class__\nx._replace()\nx.y") == set()
