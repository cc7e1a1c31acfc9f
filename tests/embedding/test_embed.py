import multiprocessing
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from selfclean_hooks import audit
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.errors import DataError
from tests.helpers.embedding_data import Items, Net, as_image, as_tensor, flat, mean_colour, pixels


def embedded(dataset: Any, backbone: Any = mean_colour, **settings: Any) -> Embeddings:
    return embed(dataset, backbone, progress=False, **settings)


@dataclass
class Record:
    image: Any
    label: int


EXPECTED = pixels().astype(np.float64).mean((1, 2)) / 255  # (12, 3) mean colours
ITEMS = {
    "tuple": as_tensor,
    "list": lambda image, label: list(as_tensor(image, label)),
    "dict": lambda image, label: {"image": as_tensor(image, label)[0], "label": label},
    "hugging face": lambda image, label: {"pixel_values": as_tensor(image, label)[0], "labels": torch.tensor(label)},
    "dataclass": lambda image, label: Record(*as_tensor(image, label)),
    "image": as_image,
    "array": lambda image, label: (image, np.int64(label)),
    "channels first": lambda image, label: (np.moveaxis(image, 2, 0), label),
    "bytes": lambda image, label: (torch.from_numpy(image).permute(2, 0, 1), label),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_items_of_any_kind(kind: str) -> None:
    found = embedded(Items(make=ITEMS[kind]))
    np.testing.assert_allclose(found.vectors, EXPECTED, atol=1e-5)
    assert found.vectors.dtype == np.float32
    assert found.n == 12
    assert not found.errors
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1] * 6
    assert found.labels.dtype == np.int64


@pytest.mark.parametrize("kind", ["tensor", "image", "array"])
def test_items_without_a_label(kind: str) -> None:
    make = {"tensor": as_tensor, "image": as_image, "array": lambda *both: both}[kind]
    found = audit(Items(make=lambda image, label: make(image, label)[0]), mean_colour, progress=False)
    assert found.scores.not_run == {"label_errors": "there are no labels"}
    assert set(found.contamination) == {"near_duplicates", "off_topic", "unreadable"}


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (lambda i: float("inf"), r"the targets are no labels \(index 0: .*got inf"),
        (lambda i: torch.rand(3), "the targets are no labels .*a Tensor of shape"),
        (lambda i: (0, 1) if i == 0 else (0, 1, 1), "items of different shapes"),
        (lambda i: None if i == 0 else i, r"all samples carry the same label \(1\); -1 means that a sample has none"),
        (lambda i: "word" if i == 0 else i, "all integers or all words"),
        (lambda i: 7, "all samples carry the same label"),
    ],
)
def test_labels_that_are_none_stop_only_the_label_check(label: Any, why: str) -> None:
    found = audit(Items(make=lambda image, i: (as_tensor(image, i)[0], label(i))), mean_colour, progress=False)
    assert re.search(why, found.scores.not_run["label_errors"])
    assert "off_topic" in found.contamination


@pytest.mark.parametrize(("labels", "codes"), [([-1, 3], [-1, 3]), ([True, False], [1, 0]), ([2.0, 1.0], [2, 1])])
def test_odd_labels_are_classes(labels: list[Any], codes: list[int]) -> None:
    found = embedded(Items(make=lambda image, i: (as_tensor(image, i)[0], labels[i])))
    assert found.labels is not None
    assert found.labels[:2].tolist() == codes


def test_words_become_class_names() -> None:
    found = embedded(Items(make=lambda image, i: (as_tensor(image, i)[0], ("dog", "cat")[i])))
    assert found.class_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0] * 6


def test_given_labels_go_before_those_in_the_items_and_must_fit() -> None:
    found = audit(Items(), mean_colour, labels=["x"] * 6 + ["y"] * 6, progress=False)
    assert found.frame["given_label"].tolist() == ["x"] * 6 + ["y"] * 6
    with pytest.raises(DataError, match=r"one class or number per sample, shape \(12,\), .* got \(3,\)"):
        audit(Items(), mean_colour, labels=[1, 2, 3], progress=False)


def test_image_folders_and_hugging_face_give_names_and_files(folder: Path, hub: Any) -> None:
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    images = embedded(ImageFolder(str(folder), transform))
    assert images.class_names == ("cat", "dog")
    assert images.names is not None
    assert images.names[0] == str(folder / "cat" / "0.png")
    rows = embedded(hub)
    assert rows.class_names == ("cat", "dog")
    np.testing.assert_allclose(rows.vectors, images.vectors, atol=1e-5)


def test_random_augmentation_is_bypassed(folder: Path) -> None:
    plain = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    augmented = ImageFolder(str(folder), v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.5), *plain]))
    expected = embedded(ImageFolder(str(folder), v2.Compose(plain)), flat).vectors
    np.testing.assert_allclose(embedded(Subset(augmented, range(6)), flat).vectors, expected, atol=1e-6)


def test_positions_are_those_of_the_outermost_data_set() -> None:
    inner = Items()
    outer: Subset[Any] = Subset(ConcatDataset([Subset(inner, [5, 2, 7]), inner]), [1, 14, 0, 3])
    np.testing.assert_allclose(embedded(outer).vectors, EXPECTED[[2, 11, 5, 0]], atol=1e-5)


def test_forked_workers_read_the_same() -> None:
    here, there = embedded(Items(broken=(3,))), embedded(Items(broken=(3,)), num_workers=2, batch_size=5)
    assert np.array_equal(here.vectors, there.vectors)
    assert there.errors == here.errors == {3: "OSError: item 3 is broken"}
    assert there.notes == ()


def test_a_data_set_that_cannot_be_sent_to_workers_is_read_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: "spawn")
    found = embedded(Items(make=lambda image, label: as_tensor(image, label)), num_workers=2)
    assert found.n == 12
    assert any("cannot be sent to worker processes" in note for note in found.notes)


def test_large_batches_from_workers_do_not_run_out_of_open_files() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(used + 100, hard), hard))
    try:
        found = embedded(Items(400, size=2), num_workers=1, batch_size=200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(found.vectors) == 400


def test_exact_copies_are_embedded_once_lie_at_zero_and_are_flagged() -> None:
    net = Net().double()  # sums differ in the last digits from batch to batch: only reuse makes copies exact
    data = Subset(Items(make=lambda image, label: (as_tensor(image, label)[0].double(), label)), [*range(12), 3, 3, 9])
    found = audit(data, net, batch_size=4, progress=False)
    assert net.fed == 12
    hits = found.pairs[found.pairs["is_near_duplicate_issue"]]
    assert {tuple(pair) for pair in hits[["index_1", "index_2"]].to_numpy()} >= {(3, 12), (3, 13), (12, 13), (9, 14)}
    exact = hits[hits["distance"] == 0]
    assert len(exact) == 4


@pytest.mark.parametrize("batch_size", [1, 5, 10**9])
def test_the_size_of_batches_does_not_matter(batch_size: int) -> None:
    found = embedded(Items(), Net(), batch_size=batch_size).vectors
    np.testing.assert_allclose(found, embedded(Items(), Net()).vectors, atol=1e-6)


def test_functions_of_text_arrays_and_dicts() -> None:
    def lengths(batch: list[str]) -> Any:
        return np.array([[len(text), text.count("a"), 1.0] for text in batch])

    words = ["a", "bb", "aaa", "abab"]
    assert embedded(words, lengths).vectors.tolist() == [[1, 1, 1], [2, 0, 1], [3, 3, 1], [4, 2, 1]]
    parts = [({"left": torch.tensor([i, 1.0]), "name": str(i)}, 0) for i in range(3)]
    with pytest.raises(DataError, match="needs its image under one of the keys"):
        embedded([item for item, _ in parts], lambda batch: batch["left"])
    assert embedded(parts, lambda batch: batch["left"]).vectors.tolist() == [[0, 1], [1, 1], [2, 1]]


def test_images_of_many_modes_reach_a_module_alike() -> None:
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    assert deep.mode == "I;16"
    modes = [deep, *(Image.fromarray(pixels()[0]).convert(mode) for mode in ("RGBA", "P", "CMYK", "1", "RGB"))]
    found = embedded(modes)
    assert found.vectors.shape == (6, 3)
    assert ((found.vectors >= 0) & (found.vectors <= 1)).all()


def test_read_only_memory_maps_lists_and_callable_data_sets_will_do(tmp_path: Path, recwarn: Any) -> None:
    np.save(tmp_path / "x.npy", pixels())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    class CallableItems(Items):
        def __call__(self) -> None:
            raise AssertionError("a data set is not to be called")

    frozen = pixels()
    frozen.setflags(write=False)
    for data in (
        mapped,
        frozen,
        list(frozen),
        CallableItems(),
        TensorDataset(torch.from_numpy(frozen / 255).movedim(3, 1)),
    ):
        np.testing.assert_allclose(embedded(data).vectors, EXPECTED, atol=1e-5)
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_half_precision_features_become_float32() -> None:
    assert embedded(Items(), lambda batch: batch.flatten(1).bfloat16()).vectors.dtype == np.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_module_is_fed_in_its_own_precision(dtype: torch.dtype) -> None:
    expected = embedded(Items(), Net()).vectors
    found = embedded(Items(), Net().to(dtype)).vectors
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-2)
    np.testing.assert_allclose(
        embedded([Items()[i][0].double() for i in range(12)], Net()).vectors, expected, atol=1e-6
    )


def test_an_interrupt_goes_through_and_leaves_no_trace() -> None:
    def interrupt(module: nn.Module, inputs: Any) -> None:
        raise KeyboardInterrupt

    net = Net().train()
    net.body.register_forward_pre_hook(interrupt)
    before = torch.get_rng_state(), random.getstate()
    with pytest.raises(KeyboardInterrupt):
        embedded(Items(), net)
    assert all(part.training for part in net.modules())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_the_manifest_tells_data_and_encoders_apart() -> None:
    net = Net()
    first, again, other = embedded(Items(), net), embedded(Items(), net), embedded(Items(), Net(7))
    assert first.data == again.data
    assert first.encoder == again.encoder != other.encoder
    assert embedded(Items(11), net).data != first.data
    assert first.data["name"] == "Items"
