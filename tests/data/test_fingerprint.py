"""The fingerprint of a data set: what changes it, and what must not."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder

from selfclean_hooks.data import contents, fingerprint
from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.fingerprint import data_fingerprint
from selfclean_hooks.data.image_files import ImageFiles
from tests.helpers.training_data import Wrapper, global_state, training_v1, training_v2

ITEMS, N = 20, 90  # more than are read, so that a change between the probes is seen by other means


@pytest.fixture(autouse=True)
def few_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "ITEMS", ITEMS)


def images(n: int = N) -> Any:
    return np.random.default_rng(0).integers(0, 256, (n, 6, 6), dtype=np.uint8)


class Arrays(Dataset[Any]):
    """Images and labels in memory, under names of the class's own choice."""

    def __init__(self, **held: Any) -> None:
        self.pixels, self.targets = images(), [i % 3 for i in range(N)]
        vars(self).update(held)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        return self.pixels[index], self.targets[index]


class Plain:
    """Duck-typed; keeps records of being read."""

    def __init__(self) -> None:
        self.pixels, self.reads = images(20), 0
        self.log: list[int] = []
        self.seen: set[int] = set()
        self.cache: dict[int, Any] = {}
        self.counts = {"reads": 0}
        self.slots: list[Any] = [None] * 20
        self.late: Any = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self):
            raise IndexError(index)
        self.reads += 1
        self.log.append(index)
        self.seen.add(index)
        self.counts["reads"] += 1
        self.late = self.pixels * 2 if self.late is None else self.late
        self.last = self.pixels[index].copy()
        self.cache.setdefault(index, self.pixels[index])
        if self.slots[index] is None:
            self.slots[index] = Image.fromarray(self.pixels[index])
        return self.slots[index], 1

    @cached_property
    def mean(self) -> Any:
        return self.pixels.mean(0)


def changed(change: Callable[[Any], Any], make: Callable[[], Any]) -> bool:
    other = make()
    other = change(other) or other
    return data_fingerprint(make()) != data_fingerprint(other)


def put(index: int, value: Any) -> Callable[[Any], None]:
    return lambda dataset: dataset.targets.__setitem__(index, value)


@pytest.mark.parametrize(
    "change",
    [
        put(1, 2),
        put(-2, 0),
        lambda d: d.targets.pop(),
        lambda d: d.targets.reverse(),
        lambda d: d.pixels.__setitem__((1, 5, 5), d.pixels[1, 5, 5] + 1),
        lambda d: d.pixels.__setitem__(slice(None), d.pixels[::-1].copy()),
        lambda d: Subset(d, range(N)),
        lambda d: setattr(d, "targets", np.array(d.targets) + 1),
    ],
)
def test_data_in_memory(change: Callable[[Any], Any]) -> None:
    assert N > 2 * ITEMS
    assert data_fingerprint(Arrays()) == data_fingerprint(Arrays())
    assert changed(change, Arrays)


@pytest.mark.parametrize(
    "held",
    [
        lambda label: {"records": [{"id": f"{i}", "label": label if i == 1 else 0} for i in range(N)]},
        lambda label: {"records": {f"{i}": label if i == 1 else 0 for i in range(N)}},
        lambda label: {"records": [(f"{i}", label if i == 1 else 0, object()) for i in range(N)]},
        lambda label: {"records": pd.DataFrame({"label": [label if i == 1 else 0 for i in range(N)]})},
        lambda label: {"records": pd.Series([label if i == 1 else 0 for i in range(N)])},
        lambda label: {"records": [str(label) if i == 1 else "dog" for i in range(N)]},
        lambda label: {"records": np.array([str(label) if i == 1 else "dog" for i in range(N)])},
        lambda label: {"records": {"labels": torch.tensor([label if i == 1 else 0 for i in range(N)])}},
        lambda label: {"records": [torch.tensor([label if i == 1 else 0]) for i in range(N)]},
        lambda label: {"records": [label if i == 1 else 2**70 for i in range(N)]},
        lambda label: {"reader": Arrays(targets=[label if i == 1 else 0 for i in range(N)])},
    ],
)
def test_a_label_in_whatever_holds_it(held: Callable[[int], Any]) -> None:
    assert data_fingerprint(Arrays(**held(1))) == data_fingerprint(Arrays(**held(1)))
    assert data_fingerprint(Arrays(**held(1))) != data_fingerprint(Arrays(**held(2)))


def test_lists_and_tensors_are_data_sets_too() -> None:
    items = [(image, 0) for image in images()]
    other = [*items[:1], (items[1][0], 1), *items[2:]]
    assert data_fingerprint(items) == data_fingerprint(list(items)) != data_fingerprint(other)
    x, y = torch.from_numpy(images()), torch.arange(N)
    z = x.clone()
    z[1, 0, 0] += 1
    assert data_fingerprint(TensorDataset(x, y)) == data_fingerprint(TensorDataset(x.clone(), y))
    assert data_fingerprint(TensorDataset(x, y)) != data_fingerprint(TensorDataset(z, y))


def test_trees() -> None:
    def tree(indices: Any = (4, 1, 0), parts: int = 2) -> Any:
        return ConcatDataset([Subset(ConcatDataset([Arrays()] * parts), list(indices)), Arrays()])

    found = [data_fingerprint(tree(**kw)) for kw in ({}, {}, {"indices": (4, 2, 0)}, {"indices": (4, 1)}, {"parts": 3})]
    assert found[0] == found[1]
    assert len({*found}) == 4


def test_large_arrays_are_hashed_in_evenly_spaced_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "WHOLE", images().nbytes // 10)
    monkeypatch.setattr(contents, "CHUNK", 36 * 7)
    assert data_fingerprint(Arrays()) == data_fingerprint(Arrays())
    assert changed(lambda d: d.pixels.__setitem__((-1, 0, 0), d.pixels[-1, 0, 0] + 1), Arrays)
    read = [*range(N)]
    rows = np.concatenate([np.atleast_1d(read[part] if isinstance(part, slice) else part) for part in
                           contents._chunks(N, images().nbytes)])  # fmt: skip
    assert (len(rows), rows[0], rows[-1]) == (N // 10, 0, N - 1)
    whole = [read[part] for part in contents._chunks(N, 36 * 7)]
    assert [i for part in whole for i in part] == read


def test_files(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = data_fingerprint(ImageFolder(str(folder)))
    copy = tmp_path_factory.mktemp("other") / "deeper" / "copy"
    shutil.copytree(folder, copy)
    os.utime(copy / "cat" / "1.png", (1, 1))
    assert data_fingerprint(ImageFolder(str(copy))) == before
    (copy / "cat" / "1.png").rename(copy / "cat" / "1b.png")
    renamed = data_fingerprint(ImageFolder(str(copy)))
    with (copy / "cat" / "1b.png").open("ab") as file:
        file.write(b"more")
    longer = data_fingerprint(ImageFolder(str(copy)))
    dataset = ImageFolder(str(copy))
    (copy / "cat" / "1b.png").unlink()
    assert len({before, renamed, longer, data_fingerprint(dataset), data_fingerprint(ImageFolder(str(copy)))}) == 5


class Named(Dataset[Any]):
    """File names beside their folder, as in many data sets with a table of labels."""

    def __init__(self, root: Path) -> None:
        self.root, self.names = root, sorted(path.name for path in root.iterdir()) * N

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        return Image.open(self.root / self.names[index]).convert("RGB"), 0


def test_names_beside_their_folder(folder: Path, tmp_path: Path) -> None:
    before = data_fingerprint(Named(folder / "cat"))
    shutil.copytree(folder / "cat", tmp_path / "copy")
    assert data_fingerprint(Named(tmp_path / "copy")) == before
    with (tmp_path / "copy" / "1.png").open("ab") as file:
        file.write(b"more")
    assert data_fingerprint(Named(tmp_path / "copy")) != before


def test_a_relative_root_is_the_same_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert data_fingerprint(ImageFolder(folder.name)) == data_fingerprint(ImageFolder(str(folder)))


def test_one_file_with_all_samples(tmp_path: Path) -> None:
    (tmp_path / "all.h5").write_bytes(b"12")
    before = data_fingerprint(Arrays(path=tmp_path / "all.h5"))
    (tmp_path / "all.h5").write_bytes(b"123")
    assert data_fingerprint(Arrays(path=str(tmp_path / "all.h5"))) != before


def test_transforms_and_augmentation_do_not_count(folder: Path) -> None:
    plain = data_fingerprint(ImageFolder(str(folder)))
    for transform in (training_v1(), training_v2()):
        assert data_fingerprint(ImageFolder(str(folder), transform=transform)) == plain
    leaf = FakeData(20, (3, 8, 8))
    assert data_fingerprint(Wrapper(leaf, training_v1())) == data_fingerprint(Wrapper(leaf, training_v2()))


class Noisy(Arrays):
    """Augments in its own code, from the global generators and from one of its own."""

    def __init__(self, own: bool = True) -> None:
        super().__init__()
        self.rng = np.random.default_rng() if own else None

    def __getitem__(self, index: int) -> Any:
        flips = random.random() < 0.5, torch.rand(()) < 0.5, self.rng is not None and self.rng.random() < 0.5
        return self.pixels[index][:: 1 - 2 * (sum(map(bool, flips)) % 2)], self.targets[index]


@pytest.mark.parametrize("own", [True, False])
def test_randomness_of_its_own_code_does_not_count(own: bool) -> None:
    assert len({data_fingerprint(Noisy(own)) for _ in range(4)}) == 1
    assert changed(put(1, 2), lambda: Noisy(own))


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(d, range(15)), lambda d: ConcatDataset([d, d])])
def test_reading_does_not_count(wrap: Callable[[Any], Any]) -> None:
    leaf = Plain()
    dataset = wrap(leaf)
    before = data_fingerprint(dataset)
    assert (leaf.reads, leaf.log, leaf.cache, leaf.seen, leaf.late) == (0, [], {}, set(), None)
    for index in range(len(dataset) // 2):
        dataset[index]
    assert data_fingerprint(dataset) == before
    for index in range(len(leaf)):
        leaf[index]
    assert leaf.mean.shape == (6, 6)
    log = list(leaf.log)
    assert data_fingerprint(dataset) == before
    assert leaf.log == log


def test_training_and_copies_do_not_count() -> None:
    dataset = TensorDataset(torch.from_numpy(images()).float(), torch.arange(N))
    before = data_fingerprint(dataset)
    for _ in DataLoader(dataset, batch_size=50, shuffle=True):
        pass
    assert data_fingerprint(dataset) == before
    model = torch.nn.Linear(2, 2)
    held = Arrays(model=model, weight=model.weight)
    before = data_fingerprint(held)
    with torch.no_grad():
        model.weight.add_(1)
    assert data_fingerprint(held) == before


def test_hugging_face(hub: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = data_fingerprint(hub)
    assert data_fingerprint(hub.with_format("torch")) == before
    assert data_fingerprint(hub.with_transform(lambda batch: batch)) == before
    found = [before, data_fingerprint(hub.select([1, 0, 2, 3, 4, 5])), data_fingerprint(hub.select(range(5)))]
    shutil.copytree(folder, copy := tmp_path_factory.mktemp("other") / "copy")
    columns = {"image": [str(copy / Path(r["path"]).relative_to(folder)) for r in hub.data.column("image").to_pylist()]}
    moved = huggingface.Dataset.from_dict({**columns, "label": hub["label"][:]}, features=hub.features)
    assert data_fingerprint(moved) == before
    other = huggingface.Dataset.from_dict({**columns, "label": [0, 0, 1, 1, 1, 1]}, features=hub.features)
    assert len({*found, data_fingerprint(other)}) == 4


def test_hugging_face_tables_count_in_full() -> None:
    def made(at: int = -1) -> Any:
        pixels = images()
        pixels[at, 0, 0] += 1
        return huggingface.Dataset.from_dict({"x": list(pixels), "label": [0] * N, "name": ["a"] * N})

    assert data_fingerprint(made()) == data_fingerprint(made()) != data_fingerprint(made(1))


def test_the_same_in_another_process(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from torch.utils.data import Subset;"
        "from selfclean_hooks.data.image_files import ImageFiles;"
        "from selfclean_hooks.data.digests import digest;"
        "from selfclean_hooks.data.fingerprint import data_fingerprint;"
        "paths = sorted(map(str, Path(sys.argv[1]).glob('*/*')));"
        "print(data_fingerprint(Subset(ImageFiles(paths, [0, 0, 0, 1, 1, 1], ('cat', 'dog')), [4, 1, 0])));"
        "print(digest({'a': {1, 'x', None}, 'b': {'y', 'z'}}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(folder)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    files = ImageFiles(sorted(map(str, folder.glob("*/*"))), [0, 0, 0, 1, 1, 1], ("cat", "dog"))
    subset: Any = Subset(files, [4, 1, 0])  # type: ignore[arg-type]
    assert found == [data_fingerprint(subset), digest({"b": {"y", "z"}, "a": {1, "x", None}})]


class Broken(Arrays):
    def __getitem__(self, index: int) -> Any:
        raise SystemError("nothing here")


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(range(3))


def circle() -> Any:
    dataset, inside = Arrays(), [1]
    dataset.myself, dataset.inside = dataset, inside  # type: ignore[attr-defined]
    inside.append(inside)  # type: ignore[arg-type]
    return dataset


ODD = [lambda: None, lambda: 3, lambda: [], dict, Stream, circle, object, Broken, lambda: Arrays, lambda: "text"]


@pytest.mark.parametrize("make", ODD)
def test_odd_ones_have_a_fingerprint_too(make: Callable[[], Any]) -> None:
    found = data_fingerprint(make())
    assert len(found) == 32
    assert int(found, 16) >= 0
    assert data_fingerprint(make()) == found


def test_unreadable_items_count_by_what_is_listed() -> None:
    assert data_fingerprint(Broken()) != data_fingerprint(Arrays())
    assert changed(put(1, 2), Broken)


def test_nothing_of_the_users_changes(folder: Path) -> None:
    dataset = Noisy()
    state, before = global_state(), (dataset.rng.bit_generator.state, {**vars(dataset)})  # type: ignore[union-attr]
    data_fingerprint(dataset)
    data_fingerprint(ImageFolder(str(folder), transform=training_v1()))
    assert global_state() == state
    assert dataset.rng.bit_generator.state == before[0]  # type: ignore[union-attr]
    assert all(vars(dataset)[name] is value for name, value in before[1].items())
