"""Features of a part of a model: how the part is fed, and which errors of the model are reported."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfclean_hooks.embedding.encoders.encoder import of_module
from selfclean_hooks.embedding.encoders.features import input_of
from selfclean_hooks.errors import BackboneError


class Model(nn.Module):
    """Counts its passes; what a pass does is given."""

    def __init__(self, how: Callable[["Model", Any], Any]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
        self.head = nn.Linear(4, 3)
        self.spare = nn.Linear(6, 3)
        self.how, self.passes = how, 0

    def forward(self, batch: Any) -> Any:
        self.passes += 1
        return self.how(self, batch)


def doubled(model: Model, batch: Tensor) -> Any:
    return model.head(model.body(2 * batch))


def of_a_dict(model: Model, batch: Any) -> Any:
    return model.head(model.body(2 * batch.get("image")))  # no tensor has that


def batches() -> list[Tensor]:
    return list(torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0)))


def features(model: Model, part: nn.Module, given: list[Tensor]) -> list[Tensor]:
    encoder = of_module(part, within=model)
    with encoder.ready():
        return [encoder.features(batch) for batch in given]


def test_a_part_gets_what_the_model_hands_to_it() -> None:
    model = Model(doubled)
    for found, batch in zip(features(model, model.body, batches()), batches(), strict=True):
        assert torch.allclose(found, model.body(2 * batch))


def test_where_the_model_takes_no_batches_the_part_gets_them() -> None:
    model = Model(of_a_dict)
    for found, batch in zip(features(model, model.body, batches()), batches(), strict=True):
        assert torch.allclose(found, model.body(batch))


def test_the_model_is_tried_on_the_first_batch_alone() -> None:
    model = Model(of_a_dict)
    features(model, model.body, batches())
    assert model.passes == 1


def test_a_batch_that_fits_by_chance_later_is_fed_as_the_first() -> None:
    """One data set is embedded in one way."""
    model = Model(lambda model, batch: doubled(model, batch) if model.passes > 1 else of_a_dict(model, batch))
    for found, batch in zip(features(model, model.body, batches()), batches(), strict=True):
        assert torch.allclose(found, model.body(batch))


def test_an_error_on_a_later_batch_is_raised() -> None:
    def once(model: Model, batch: Tensor) -> Any:
        if batch.sum() < 0:
            raise ValueError("not this one")
        return doubled(model, batch)

    model, (first, second, _) = Model(once), batches()
    encoder = of_module(model.body, within=model)
    with encoder.ready():
        encoder.features(first)
        with pytest.raises(ValueError, match="not this one"):
            encoder.features(-second)
        assert torch.allclose(encoder.features(second), model.body(2 * second))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory"),
    ],
    ids=["cuda", "mps"],
)
def test_out_of_memory_on_the_first_batch_is_raised(error: RuntimeError) -> None:
    def heavy(model: Model, batch: Tensor) -> Any:
        raise error

    model = Model(heavy)
    with pytest.raises(RuntimeError, match="out of memory"):
        features(model, model.body, batches())
    assert model.passes == 1


def test_a_part_that_is_not_reached_is_reported_and_not_fed_directly() -> None:
    model = Model(doubled)
    with pytest.raises(BackboneError, match="Linear must be called with one argument when Model is, got no call"):
        features(model, model.spare, batches())


def test_no_hook_stays_after_an_error() -> None:
    model = Model(of_a_dict)
    with pytest.raises(AttributeError):
        input_of(model.body, model, batches()[0])
    features(model, model.body, batches())
    assert not model.body._forward_pre_hooks


@pytest.mark.parametrize("how", [doubled, of_a_dict], ids=["by the model", "directly"])
def test_the_part_gets_the_precision_of_the_model(how: Any) -> None:
    model = Model(how).double()
    found = features(model, model.body, batches())
    assert [part.dtype for part in found] == [torch.float64] * 3


def test_the_whole_model_is_run_once_a_batch() -> None:
    model = Model(doubled)
    found = features(model, model, batches())
    assert model.passes == 3
    assert torch.allclose(found[0], model.body(2 * batches()[0]))  # what enters its last layer
