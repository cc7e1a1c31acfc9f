"""Items, batches and features that cannot be used: named by index, or refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from selfclean_hooks import audit
from selfclean_hooks.errors import BackboneError, DataError, SettingError
from tests.embedding.test_embed import embedded
from tests.helpers.embedding_data import Items, Net, mean_colour


def test_unreadable_items_are_recorded_by_index_and_the_rest_is_audited() -> None:
    found = audit(Items(broken=(0, 7)), mean_colour, progress=False)
    assert found.frame["error"][found.frame["error"] != ""].to_dict() == {
        0: "OSError: item 0 is broken",
        7: "OSError: item 7 is broken",
    }
    assert found.contamination["unreadable"] == 2 / 12
    assert found.frame["off_topic_score"].isna().to_numpy().nonzero()[0].tolist() == [0, 7]
    assert found.frame["given_label"].isna().to_numpy().nonzero()[0].tolist() == [0, 7]


def test_truncated_images_are_unreadable_by_index(folder: Path) -> None:
    path = folder / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:300])
    found = embedded(ImageFolder(str(folder), v2.PILToTensor()))
    assert list(found.errors) == [4]
    assert "truncated" in found.errors[4] or "OSError" in found.errors[4]
    assert len(found.vectors) == 5


@pytest.mark.parametrize("broken", [tuple(range(12)), tuple(range(1, 12))])
def test_nothing_to_compare_gives_the_first_message(broken: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"{len(broken)} of 12 samples cannot be read.*item {broken[0]} is broken"):
        embedded(Items(broken=broken))


def test_none_and_things_without_content_are_unreadable() -> None:
    odd = {3: None, 5: object()}
    data = [(odd[i] if i in odd else torch.rand(3, 8, 8), 0) for i in range(8)]
    errors = embedded(data).errors
    assert errors[3] == "DataError: the data set returned None"
    assert "object" in errors[5]
    with pytest.raises(DataError, match="index 0: DataError: the data set returned None"):
        embedded([None, None])


class Lying(Items):
    def __len__(self) -> int:
        return 15


def test_a_length_that_promises_too_much_names_the_missing_items() -> None:
    assert list(embedded(Lying()).errors) == [12, 13, 14]


@pytest.mark.parametrize("backbone", [Net(), mean_colour])
def test_samples_of_several_shapes_are_refused(backbone: Any) -> None:
    data = [(torch.rand(3, 8, 8 + i % 2), 0) for i in range(6)]
    with pytest.raises(
        DataError, match=r"must have one shape, got \(3, 8, 8\) and \(3, 8, 9\): give the data set a trans"
    ):
        embedded(data, backbone)


def test_samples_of_several_kinds_are_refused() -> None:
    with pytest.raises(DataError, match=r"must be alike.* got Tensor, str .*return one kind"):
        embedded([torch.rand(3, 8, 8), "text", torch.rand(3, 8, 8)])
    fields = {"image": {"first": torch.rand(4), "second": torch.rand(4)}}
    with pytest.raises(DataError, match=r"must be alike.* got dict, Tensor .*return one kind"):
        embedded([fields, torch.rand(3, 8, 8), fields])


def test_a_batch_that_the_module_cannot_take_is_named() -> None:
    with pytest.raises(BackboneError, match=r"Net does not take a batch of shape \(12, 1, 8, 8\): RuntimeError"):
        embedded([torch.rand(1, 8, 8) for _ in range(12)], Net())


def test_what_a_function_raises_is_passed_on() -> None:
    def broken(batch: Any) -> Any:
        raise KeyError("x")

    with pytest.raises(BackboneError, match=r"broken does not take a batch .*: KeyError: 'x'") as caught:
        embedded(Items(), broken)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("output", "came"),
    [
        (lambda b: b, r"got \(12, 3, 8, 8\)"),
        (lambda b: b.flatten(1)[:5], r"got \(5, 192\)"),
        (lambda b: [1], "got a list"),
        (lambda b: b.flatten(1)[:, :0], r"got \(12, 0\)"),
    ],
)
def test_output_that_is_no_features_is_refused(output: Any, came: str) -> None:
    with pytest.raises(BackboneError, match=rf"must give \(B, D\) features, \(12, D\) for a batch of shape.*{came}"):
        embedded(Items(), output)


def test_a_changing_number_of_features_is_refused() -> None:
    with pytest.raises(BackboneError, match="as many features, got 192 and, at index 10, 2"):
        embedded(Items(), lambda batch: batch.flatten(1)[:, : 2 if len(batch) == 2 else None], batch_size=5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_named_by_index(bad: float) -> None:
    def spoiled(batch: Tensor) -> Tensor:
        out = batch.flatten(1).clone()
        out[[3, 5]] = bad
        return out

    with pytest.raises(BackboneError, match="NaN or infinity for 2 of 12 samples, index 4, 6: look"):
        embedded(Items(broken=(0,)), spoiled)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.rand(3, 8, 8)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "got a Stream: read the items into a list first"),
        (DataLoader(Items()), "got a DataLoader: pass its .dataset"),
        ("folder/of/images", "got a str: open it first"),
        (Items, "got the class Items: make an instance"),
        ({"train": Items()}, "pass one of its values"),
        ([], "at least 2, got 0"),
        (Items(1), "at least 2, got 1"),
        (None, "got a NoneType"),
    ],
)
def test_what_is_no_data_set_is_refused(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        embedded(dataset)


@pytest.mark.parametrize(
    "setting",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"num_workers": -1},
        {"num_workers": None},
        {"seed": "x"},
        {"seed": 2**63},
    ],
)
def test_sizes_without_sense_are_refused(setting: dict[str, Any]) -> None:
    name = next(iter(setting))
    with pytest.raises(SettingError, match=f"{name} must be a whole number of at least"):
        embedded(Items(), **setting)
