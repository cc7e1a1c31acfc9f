"""What a loader made anew means for the training: how many steps, and what Lightning does with it next."""

import importlib
from typing import Any

import numpy as np
import pytest
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SubsetRandomSampler, WeightedRandomSampler

from selfclean_hooks.training.loaders import filter_loader, problem, single_sample_batch
from tests.training.loader_cases import Numbers, OwnClass, positions

NAMESPACES = ["lightning.pytorch", "pytorch_lightning"]
DISTRIBUTED: dict[str, Any] = {"num_replicas": 2, "rank": 0, "shuffle": False}


@pytest.mark.parametrize(
    ("loader", "world_size", "expected"),
    [
        (DataLoader(Numbers(3), 4), 1, None),
        (DataLoader(Numbers(4), 4, drop_last=True), 1, None),
        (DataLoader(Numbers(3), 4, drop_last=True), 1, "3 of 9 samples are left, 3 an epoch for each process"),
        (DataLoader(Numbers(5), 4, drop_last=True), 2, "5 of 9 samples are left, 3 an epoch for each process"),
        (DataLoader(Numbers(9), 4, drop_last=True, sampler=SubsetRandomSampler([1, 2])), 1, "2 of 9 samples are left"),
        (DataLoader(Numbers(7), 4, drop_last=True), 2, None),
        (
            DataLoader(Numbers(9), 4, drop_last=True, sampler=SubsetRandomSampler(range(6))),
            2,
            "6 of 9 samples are left, 3",
        ),
        (
            DataLoader(Numbers(7), 4, drop_last=True, sampler=DistributedSampler(Numbers(7), **DISTRIBUTED)),
            2,
            None,
        ),
        (
            DataLoader(Numbers(1), 4, sampler=DistributedSampler(Numbers(1), drop_last=True, **DISTRIBUTED)),
            2,
            "1 of 9 samples are left, 0 an epoch for each process",
        ),
    ],
)
def test_tells_that_nothing_would_be_trained(loader: Any, world_size: int, expected: str | None) -> None:
    found = problem(loader, 9, world_size)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(f"training would run 0 steps: {expected}")
        assert found.endswith(
            ", while a batch takes 4 and drop_last=True; lower batch_size, pass drop_last=False or drop fewer samples"
        )


@pytest.mark.parametrize(
    ("n", "left", "batch_size", "drop_last", "world_size", "expected"),
    [
        (10, 9, 4, False, 1, True),
        (10, 9, 4, True, 1, False),
        (10, 8, 4, False, 1, False),
        (13, 9, 4, False, 1, False),
        (10, 9, 1, False, 1, False),
        (10, 9, None, False, 1, False),
        (10, 1, 4, False, 1, True),
        (20, 17, 4, False, 2, True),
        (20, 18, 4, False, 2, True),
        (20, 17, 4, False, 1, True),
        (20, 18, 4, False, 1, False),
    ],
)
def test_tells_of_a_last_batch_of_one(
    n: int, left: int, batch_size: int | None, drop_last: bool, world_size: int, expected: bool
) -> None:
    loader = DataLoader(Numbers(n), batch_size, drop_last=drop_last)
    new = filter_loader(loader, np.arange(left))
    assert single_sample_batch(new, loader, world_size) is expected
    assert not single_sample_batch(new, new, world_size)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("in_hook", [False, True], ids=["passed", "from a hook"])
@pytest.mark.parametrize("made", [DataLoader, OwnClass])
@pytest.mark.parametrize("sampler", [None, SubsetRandomSampler([0, 1, 2, 3, 8]), WeightedRandomSampler([1.0] * 10, 20)])
def test_survives_that_lightning_makes_it_again(namespace: str, in_hook: bool, made: Any, sampler: Any) -> None:
    own = {} if made is DataLoader else {"scale": 4}

    def filtered_loader() -> DataLoader[int]:
        loader = made(Numbers(10), batch_size=2, sampler=sampler, drop_last=True, collate_fn=as_it_is, **own)
        return filter_loader(loader, positions(1, 2, 3, 8, 9))

    new = _as_made_in_a_hook(namespace, filtered_loader) if in_hook else filtered_loader()
    data = importlib.import_module(f"{namespace}.utilities.data")
    connector = importlib.import_module(f"{namespace}.trainer.connectors.data_connector")
    drawn: set[int] = set()
    for rank in range(2):
        shared = connector._get_distributed_sampler(new, True, 0, num_replicas=2, rank=rank)
        again = data._update_dataloader(new, shared)
        assert (type(again), again.batch_size, again.drop_last, again.collate_fn) == (made, 2, True, as_it_is)
        assert getattr(again, "scale", None) == own.get("scale")
        drawn |= {item for batch in again for item in batch}
    assert drawn
    assert drawn <= ({1, 2, 3, 8} if isinstance(sampler, SubsetRandomSampler) else {1, 2, 3, 8, 9})


def as_it_is(items: list[int]) -> list[int]:
    return items


def _as_made_in_a_hook(namespace: str, hook: Any) -> Any:
    """Inside what Lightning puts around a hook that returns loaders."""
    source = importlib.import_module(f"{namespace}.trainer.connectors.data_connector")
    with source._replace_dunder_methods(DataLoader, "dataset"), source._replace_dunder_methods(BatchSampler):
        return hook()
