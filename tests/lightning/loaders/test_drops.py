"""What is dropped never reaches training; everything else is as in a fit on the kept samples made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, Subset, SubsetRandomSampler, WeightedRandomSampler

from selfclean_hooks import Policy
from tests.lightning.fits import DROP, Module, N, Net, Norm, audit_callback, train_data, trainer, val_data, weights

WEIGHTS = np.random.default_rng(0).choice([0.5, 1, 3], N).tolist()
LISTED = np.random.default_rng(1).permutation(N)[:44].tolist()
EPOCHS = 2
POLICIES = [
    DROP,
    Policy(near_duplicates="drop"),
    Policy(label_errors="drop", off_topic="ignore"),
    Policy(leakage="drop"),
]


class Kind(NamedTuple):
    """A sampler of the user's, and the one that he would have made for the samples kept."""

    of_user: Callable[[Any], Any]
    by_hand: Callable[[Any, list[int]], Any]  # of the whole data and the positions kept
    once: bool = True  # an epoch brings every sample


def shuffled(data: Any) -> dict[str, Any]:
    return {"dataset": data, "shuffle": True}


def in_order(data: Any) -> dict[str, Any]:
    return {"dataset": data}


def weighted(data: Any) -> dict[str, Any]:
    return {"dataset": data, "sampler": WeightedRandomSampler(WEIGHTS, N)}


def weighted_by_hand(data: Any, kept: list[int]) -> dict[str, Any]:
    return {
        "dataset": Subset(data, kept),
        "sampler": WeightedRandomSampler([WEIGHTS[i] for i in kept], len(kept)),
    }


def replaced(data: Any) -> dict[str, Any]:
    return {"dataset": data, "sampler": RandomSampler(data, replacement=True, num_samples=2 * N)}


def replaced_by_hand(data: Any, kept: list[int]) -> dict[str, Any]:
    subset = Subset(data, kept)
    return {"dataset": subset, "sampler": RandomSampler(subset, replacement=True, num_samples=2 * len(kept))}


def listed(data: Any) -> dict[str, Any]:
    return {"dataset": data, "sampler": SubsetRandomSampler(LISTED)}


def listed_by_hand(data: Any, kept: list[int]) -> dict[str, Any]:
    return {"dataset": data, "sampler": SubsetRandomSampler([i for i in LISTED if i in kept])}


KINDS = {
    "shuffled": Kind(shuffled, lambda data, kept: shuffled(Subset(data, kept))),
    "in order": Kind(in_order, lambda data, kept: in_order(Subset(data, kept))),
    "weighted": Kind(weighted, weighted_by_hand, once=False),
    "replaced": Kind(replaced, replaced_by_hand, once=False),
    "listed": Kind(listed, listed_by_hand),
}


class Way(lightning.LightningDataModule):
    """A DataModule around loaders that are there."""

    def __init__(self, train: Any, val: Any) -> None:
        super().__init__()
        self.loaders = train, val

    def train_dataloader(self) -> Any:
        return self.loaders[0]

    def val_dataloader(self) -> Any:
        return self.loaders[1]


def fitted(
    train: Any, *callbacks: Any, as_module: bool = False, accumulate: int = 1, norm: Any = Norm
) -> tuple[Net, lightning.Trainer]:
    lightning.seed_everything(3, verbose=False)
    net, val = Net(scheduled=True), DataLoader(val_data(5), 65)
    net.encoder[2] = norm(32)
    done = trainer(*callbacks, max_epochs=EPOCHS, accumulate_grad_batches=accumulate)
    if as_module:
        done.fit(net, datamodule=Way(train, val))
    else:
        done.fit(net, train, val)
    return net, done


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    batch_size=st.integers(3, 20),
    drop_last=st.booleans(),
    accumulate=st.integers(1, 3),
    as_module=st.booleans(),
    policy=st.sampled_from(POLICIES),
)
def test_trains_as_on_the_kept_samples_chosen_by_hand(
    name: str, batch_size: int, drop_last: bool, accumulate: int, as_module: bool, policy: Policy
) -> None:
    kind = KINDS[name]
    rest: dict[str, Any] = {"batch_size": batch_size, "drop_last": drop_last}
    fit: dict[str, Any] = {"as_module": as_module, "accumulate": accumulate, "norm": nn.LayerNorm}  # for batches of one
    data, callback = train_data(), audit_callback(None, policy=policy)
    net, done = fitted(DataLoader(**kind.of_user(data), **rest), callback, **fit)
    drawn = sorted(LISTED) if name == "listed" else list(range(N))
    kept = [drawn[position] for position in callback.audit.clean_indices]
    assert 0 < len(kept) < len(drawn)

    for seen in net.seen.values():
        assert set(seen) <= set(kept)
        if kind.once:
            assert len(seen) == len(set(seen))
            assert drop_last or sorted(seen) == kept
    samples = 2 * len(kept) if name == "replaced" else len(kept)
    batches = samples // batch_size if drop_last else -(-samples // batch_size)
    steps = EPOCHS * -(-batches // accumulate)
    assert done.num_training_batches == batches
    assert [len(seen) for seen in net.seen.values()] == [min(samples, batches * batch_size)] * EPOCHS
    assert (net.total_steps, done.global_step) == (steps, steps)
    assert done.lr_scheduler_configs[0].scheduler.last_epoch == steps
    assert net.validated == [0, 1]

    twin, _ = fitted(DataLoader(**kind.by_hand(data, kept), **rest), **fit)
    assert twin.seen == net.seen
    assert same(weights(net), weights(twin))


def test_the_twin_can_tell_weights_apart() -> None:
    data = train_data()
    kept = list(range(40))
    nets = [fitted(DataLoader(Subset(data, some), 16))[0] for some in (kept, kept, kept[:-1])]
    assert same(weights(nets[0]), weights(nets[1]))
    assert not same(weights(nets[0]), weights(nets[2]))


@pytest.mark.parametrize("persistent", [False, True])
def test_worker_processes_read_the_kept_samples_alone(persistent: bool) -> None:
    data, callback = train_data(), audit_callback(None, policy=DROP)
    rest: dict[str, Any] = {
        "batch_size": 16,
        "shuffle": True,
        "num_workers": 1,
        "persistent_workers": persistent,
    }
    with pytest.warns(UserWarning, match="DataAudit of the training data"):
        net, _ = fitted(DataLoader(data, **rest), callback)
    kept = callback.audit.clean_indices.tolist()
    assert [sorted(seen) for seen in net.seen.values()] == [kept, kept]
    twin, _ = fitted(DataLoader(Subset(data, kept), **rest))
    assert same(weights(net), weights(twin))


def test_positions_are_those_of_the_data_set_given(tmp_path: Path) -> None:
    """Of a Subset: positions in the Subset, which is what the user handed over."""
    data, callback = train_data(), audit_callback(tmp_path, policy=DROP)
    subset = Subset(data, LISTED)
    with pytest.warns(UserWarning, match=f"DataAudit of the training data: {len(LISTED)} samples"):
        net, _ = fitted(DataLoader(subset, 16), callback, as_module=True)
    written = [int(line) for line in (tmp_path / "clean_indices.txt").read_text().split()]
    assert written == callback.audit.clean_indices.tolist()
    assert net.seen[0] == [LISTED[position] for position in written]


def test_positions_among_those_a_sampler_draws_are_said_to_be_so() -> None:
    data, callback = train_data(), audit_callback(None, policy=DROP)
    with pytest.warns(UserWarning, match=f"DataAudit of the training data: {len(LISTED)} samples"):
        net, _ = fitted(DataLoader(data, 16, sampler=SubsetRandomSampler(LISTED)), callback, norm=nn.LayerNorm)
    assert (
        f"the sampler draws only {len(LISTED)} samples: positions count among these"
        in callback.audit.provenance["notes"]
    )
    assert sorted(net.seen[0]) == [sorted(LISTED)[position] for position in callback.audit.clean_indices]


def test_the_loader_given_is_left_whole() -> None:
    data = train_data()
    loader = DataLoader(data, 16, shuffle=True)
    before = dict(vars(loader))
    with pytest.warns(UserWarning, match="DataAudit"):
        fitted(loader, audit_callback(None, policy=DROP))
    assert loader.dataset is data
    assert len(data) == N
    assert {name: value for name, value in vars(loader).items() if before[name] is not value} == {}


def test_a_data_module_is_asked_once() -> None:
    module, callback = Module(train_data(), val_data(5)), audit_callback(None, policy=DROP)
    net = Net(scheduled=True)
    with pytest.warns(UserWarning, match="DataAudit"):
        trainer(callback).fit(net, datamodule=module)
    assert sorted(module.calls) == ["train", "val"]
