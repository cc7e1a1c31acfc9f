"""Items with new labels: of every kind that data sets return, one by one, in batches and in lists of labels."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets as huggingface
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.items import split
from selfclean_hooks.data.views.dataset_view import open_dataset
from selfclean_hooks.data.views.kept_samples import KeptSamples, NewLabels
from selfclean_hooks.errors import DataError

GIVEN = (0, 1, 2, 0, 1, 2)
RELABELLED = np.array([[1, 0], [4, 5], [5, 0]])  # sample, and whose label it gets
NEW = (0, 0, 2, 0, 2, 0)


class Named(NamedTuple):
    target: Any
    image: Any


@dataclass(frozen=True)
class Frozen:
    image: Any
    label: Any


class Items(Dataset[Any]):
    """What `make` makes of an image and a label."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return len(GIVEN)

    def __getitem__(self, index: int) -> Any:
        return self.make(index, torch.full((3, 4, 4), float(index)), GIVEN[index])


KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # how items are made, where the label is, options
    "tuple": (lambda i, x, y: (x, y), lambda item: item[1], {}),
    "list": (lambda i, x, y: [x, y], lambda item: item[1], {}),
    "tensor": (lambda i, x, y: (x, torch.tensor(y)), lambda item: int(item[1]), {}),
    "array": (lambda i, x, y: (x, np.int16(y)), lambda item: int(item[1]), {}),
    "word": (lambda i, x, y: (x, "abc"[y]), lambda item: "abc".index(item[1]), {}),
    "one-hot": (lambda i, x, y: (x, [int(y == c) for c in range(3)]), lambda item: item[1].index(1), {}),
    "more fields": (lambda i, x, y: (x, y, {"patient": i}), lambda item: item[1], {}),
    "dict": (lambda i, x, y: {"image": x, "label": y}, lambda item: item["label"], {}),
    "one field of a dict": (lambda i, x, y: {"image": x, "fine_label": y}, lambda item: item["fine_label"], {}),
    "named tuple": (lambda i, x, y: Named(y, x), lambda item: item.target, {}),
    "frozen dataclass": (lambda i, x, y: Frozen(x, y), lambda item: item.label, {}),
    "index first": (lambda i, x, y: (i, x, y), lambda item: item[2], {}),
    "by name": (lambda i, x, y: {"image": x, "coarse": 7, "fine": y}, lambda item: item["fine"], {"label_key": "fine"}),
    "by position": (lambda i, x, y: (x, i, y), lambda item: item[2], {"label_key": -1}),
    "beside the input": (lambda i, x, y: (i, "file", x, y), lambda item: item[3], {"input_key": 2}),
    "place in a dict": (lambda i, x, y: {"image": x, "kind": y}, lambda item: item["kind"], {"label_key": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_every_kind_get_their_new_label_and_nothing_else(kind: str) -> None:
    make, label_of, options = KINDS[kind]
    dataset = Items(make)
    new = NewLabels.read(open_dataset(dataset, EmbeddingSettings(**options)), RELABELLED)
    for index in range(len(dataset)):
        before = dataset[index]
        served = new.serve(index, before)
        assert label_of(served) == NEW[index]
        assert type(served) is type(before)
        assert label_of(before) == GIVEN[index]  # the item itself is left as it is
        twin = make(index, torch.full((3, 4, 4), float(index)), NEW[index])  # as if the data had been right
        assert repr(served) == repr(twin)


def test_a_label_is_a_copy_of_its_own() -> None:
    new = NewLabels.read(open_dataset(Items(KINDS["tensor"][0])), RELABELLED)
    served = new.serve(1, (0, torch.tensor(1)))
    served[1].fill_(9)
    assert int(new.serve(1, (0, torch.tensor(1)))[1]) == 0


def test_reading_draws_nothing_and_reads_one_item_a_class() -> None:
    class Random(Items):
        reads: list[int]

        def __getitem__(self, index: int) -> Any:
            self.reads.append(index)
            return torch.rand(3, 4, 4) + random.random(), GIVEN[index]

    dataset = Random(None)
    dataset.reads = []
    view = open_dataset(dataset)
    state, drawn = torch.get_rng_state(), random.getstate()
    new = NewLabels.read(view, RELABELLED)
    assert torch.equal(state, torch.get_rng_state())
    assert drawn == random.getstate()
    assert sorted(new.values) == [0, 5]
    assert dataset.reads.count(0) <= 2
    assert dataset.reads.count(5) == 1


def test_without_a_place_for_the_label_it_is_an_error() -> None:
    for make in (lambda i, x, y: x, lambda i, x, y: {"image": x, "a_label": y, "b_label": y}):
        with pytest.raises(DataError, match="label_key="):
            NewLabels.read(open_dataset(Items(make)), RELABELLED)


def test_kept_samples_by_one_by_batch_and_by_workers() -> None:
    images, labels = torch.arange(6.0).reshape(6, 1, 1, 1), torch.tensor(GIVEN)
    dataset = TensorDataset(images, labels)
    new = NewLabels.read(open_dataset(dataset), RELABELLED)
    kept = KeptSamples(dataset, [1, 2, 4, 5], new)
    expected = [NEW[i] for i in (1, 2, 4, 5)]
    assert [int(kept[i][1]) for i in range(4)] == expected
    assert [int(item[1]) for item in kept.__getitems__([3, 0])] == [expected[3], expected[0]]
    for workers in (0, 1):
        batches = list(DataLoader(kept, 2, num_workers=workers))
        assert torch.cat([y for _, y in batches]).tolist() == expected
        assert torch.cat([x for x, _ in batches]).flatten().tolist() == [1, 2, 4, 5]
    nested = Subset(kept, [2, 0])
    assert [int(nested[i][1]) for i in range(2)] == [expected[2], expected[0]]


class Batches(Items):
    def __getitems__(self, indices: list[int]) -> Any:
        return {"image": torch.zeros(len(indices), 1), "label": torch.tensor([GIVEN[i] for i in indices])}


def test_a_batch_that_is_no_list_is_an_error_where_a_label_is_new() -> None:
    dataset = Batches(KINDS["dict"][0])
    kept = KeptSamples(dataset, range(6), NewLabels.read(open_dataset(dataset), RELABELLED))
    assert kept.__getitems__([0, 2])["label"].tolist() == [0, 2]
    with pytest.raises(DataError, match="return a list there, or use policy 'drop'"):
        kept.__getitems__([0, 1])


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_lists_of_labels_hold_the_new_ones(kind: Any) -> None:
    dataset = Items(KINDS["tuple"][0])
    dataset.targets = kind(GIVEN)  # type: ignore[attr-defined]
    kept = KeptSamples(dataset, [0, 1, 4, 5], NewLabels.read(open_dataset(dataset), RELABELLED))
    assert [int(y) for y in kept.targets] == [0, 0, 2, 0]
    assert type(kept.targets) is type(dataset.targets)  # type: ignore[attr-defined]
    assert [int(y) for y in dataset.targets] == list(GIVEN)  # type: ignore[attr-defined]


def test_an_image_folder_and_a_hugging_face_data_set(tmp_path: Path) -> None:
    for i, label in enumerate(GIVEN):
        folder = tmp_path / "abc"[label]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(folder / f"{i}.png")
    folder_data = ImageFolder(str(tmp_path))
    kept = KeptSamples(folder_data, range(6), NewLabels.read(open_dataset(folder_data), np.array([[0, 5], [2, 5]])))
    assert [kept[i][1] for i in range(6)] == [2, 0, 2, 1, 2, 2]
    assert kept.targets == [2, 0, 2, 1, 2, 2]
    assert [entry[1] for entry in kept.samples] == [2, 0, 2, 1, 2, 2]
    assert [entry[0] for entry in kept.samples] == [entry[0] for entry in folder_data.samples]
    rows = huggingface.Dataset.from_dict({"text": list("uvwxyz"), "label": list(GIVEN)})
    kept = KeptSamples(rows, range(6), NewLabels.read(open_dataset(rows), RELABELLED))
    assert [kept[i]["label"] for i in range(6)] == list(NEW)
    assert [item["label"] for item in kept.__getitems__([1, 0])] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_label_is_where_the_audit_reads_it(kind: str) -> None:
    make, _, options = KINDS[kind]
    items = open_dataset(Items(make), EmbeddingSettings(**options)).evaluation.items
    raw, read = make(4, torch.zeros(3, 4, 4), GIVEN[4]), items[4]
    label = split(read).label
    assert repr(items.fields.held_label(raw)) == repr(label)
