"""The views against real data sets: torchvision, Hugging Face, timm and the ones people write themselves."""

import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, StackDataset, Subset, random_split
from torchvision import transforms as v1
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import v2

from selfclean_hooks.errors import DataError
from selfclean_hooks.items import digest, split
from selfclean_hooks.views import (
    Identity,
    Origin,
    check_map_style,
    class_names,
    eval_view,
    file_name,
    kept_rng,
    origin,
    raw_view,
)

MEAN = [0.5, 0.5, 0.5]


def training_v1() -> Any:
    jitter = v1.RandomApply([v1.ColorJitter(0.4, 0.4)], p=0.8)
    steps = [v1.RandomResizedCrop(16), v1.RandomHorizontalFlip(), jitter, v1.ToTensor(), v1.Normalize(MEAN, MEAN)]
    return v1.Compose([*steps, v1.RandomErasing(p=0.9)])


def evaluation_v1() -> Any:
    return v1.Compose([v1.Resize(16), v1.CenterCrop(16), v1.ToTensor(), v1.Normalize(MEAN, MEAN)])


def training_v2() -> Any:
    nested = v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()])
    steps = [
        v2.ToImage(),
        nested,
        v2.RandomCrop(16, padding=4),
        v2.RandomOrder([v2.RandomGrayscale(), v2.ColorJitter(1)]),
    ]
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise()])


def evaluation_v2() -> Any:
    return v2.Compose([v2.ToImage(), v2.CenterCrop(16), v2.ToDtype(torch.float32, scale=True)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


def digests(dataset: Any) -> list[str]:
    return [digest(split(dataset[index]).value) for index in range(len(dataset))]


def contents(dataset: Any) -> bytes:
    """Everything a data set holds, its generators and caches included."""
    return pickle.dumps(dataset)


def global_state() -> tuple[Any, ...]:
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002


# --- transforms of torchvision and timm -----------------------------------------------------------


@pytest.mark.parametrize(("train", "evaluate"), [(training_v1, evaluation_v1), (training_v2, evaluation_v2)])
def test_eval_view_is_what_the_evaluation_transform_gives(
    folder: Path, train: Callable[[], Any], evaluate: Callable[[], Any]
) -> None:
    dataset = ImageFolder(str(folder), transform=train())
    view = eval_view(dataset)
    assert digests(view.dataset) == digests(ImageFolder(str(folder), transform=evaluate()))
    assert view.dataset[4][1] == 1
    assert not any("differ" in note for note in view.notes)


def test_raw_view_is_what_is_stored(folder: Path) -> None:
    view = raw_view(ImageFolder(str(folder), transform=training_v1(), target_transform=lambda label: label + 10))
    image, label = view.dataset[5]
    assert isinstance(image, Image.Image)
    assert digest(image) == digest(ImageFolder(str(folder))[5][0])
    assert label == 11
    assert "Compose bypassed: the audit reads what is stored" in view.notes


@pytest.mark.parametrize("build", [training_v1, training_v2])
@pytest.mark.parametrize("make", [raw_view, eval_view])
def test_a_view_leaves_no_trace(folder: Path, build: Callable[[], Any], make: Callable[[Any], Any]) -> None:
    leaf = ImageFolder(str(folder), transform=build())
    dataset = Subset(leaf, [0, 3, 5])
    before, rng = contents(dataset), global_state()
    view = make(dataset)
    assert global_state() == rng
    assert digests(view.dataset) == digests(view.dataset)
    assert contents(dataset) == before
    assert view.dataset.dataset.samples is leaf.samples


def test_both_attributes_of_torchvision_are_swapped() -> None:
    dataset = FakeData(4, (3, 20, 20), transform=training_v1(), target_transform=lambda label: label - 100)
    for view in (raw_view(dataset), eval_view(dataset)):
        pair = view.dataset.transforms
        assert pair.target_transform is dataset.target_transform
        assert "Random" not in repr(pair)
        assert "Random" not in repr(view.dataset.transform)
        assert view.dataset[0][1] < 0
    assert "RandomErasing" in repr(dataset.transforms)


class Joint(ImageFolder):  # type: ignore[misc]
    """As the detection data sets of torchvision: one transform for image and target."""

    def __getitem__(self, index: int) -> Any:
        path, label = self.samples[index]
        return self.transforms(self.loader(path), label) if self.transforms else (self.loader(path), label)


def test_a_joint_transform_of_image_and_target(folder: Path) -> None:
    dataset = Joint(str(folder))
    dataset.transforms = v2.Compose([v2.RandomResizedCrop((8, 12)), v2.RandomHorizontalFlip(), v2.ToImage()])
    image, label = eval_view(dataset).dataset[4]
    assert (tuple(image.shape), label) == ((3, 8, 12), 1)
    stored, label = raw_view(dataset).dataset[4]
    assert (stored.size, label) == ((20, 24), 1)


CERTAIN = [v1.RandomGrayscale(p=1), v2.RandomInvert(p=1), v1.GaussianBlur(3, sigma=1.0), v2.FiveCrop(4)]


@pytest.mark.parametrize("transform", CERTAIN, ids=lambda transform: type(transform).__name__)
def test_deterministic_transforms_stay(transform: Any) -> None:
    assert eval_view(FakeData(2, (3, 8, 8), transform=transform)).dataset.transform is transform


RANDOM = [
    (v1.RandomRotation(30), "Identity"),
    (v2.JPEG((10, 90)), "Identity"),
    (v1.GaussianBlur(3), "Identity"),
    (v1.RandomApply([v1.RandomCrop(8), v1.ColorJitter(1)], p=1), "CenterCrop, Identity"),
    (v2.RandomChoice([v2.RandomGrayscale(), v2.RandomCrop(8)]), "CenterCrop"),
    (v1.RandomChoice([v1.ColorJitter(1), v1.RandomRotation(9)]), "Identity"),
    (v2.RandomShortestSize([6, 9], max_size=20), "Resize"),
    (v2.RandomResize(6, 9), "Resize"),
    (torch.nn.Sequential(v1.RandomCrop(8), v1.RandomHorizontalFlip()), "Sequential, CenterCrop, Identity"),
    (create_transform(8, is_training=True, auto_augment="rand-m9", re_prob=0.5), "Compose"),
]


def kinds(transform: Any) -> set[str]:
    if isinstance(transform, v1.Compose):
        return {"Compose"}
    return {type(part).__name__ for part in transform.modules()}


@pytest.mark.parametrize(("transform", "names"), RANDOM, ids=lambda value: type(value).__name__)
def test_random_transforms_are_replaced(transform: Any, names: str) -> None:
    dataset = FakeData(2, (3, 12, 12), transform=transform)
    view = eval_view(dataset)
    assert set(names.split(", ")) <= kinds(view.dataset.transform) <= {*names.split(", "), "Sequential"}
    assert digests(view.dataset) == digests(view.dataset)
    assert dataset.transform is transform


def test_random_parts_inside_a_module_that_takes_tensors() -> None:
    transform = v1.Compose([v1.ToTensor(), torch.nn.Sequential(v1.RandomResizedCrop(8), v1.RandomErasing(p=1))])
    view = eval_view(FakeData(2, (3, 12, 12), transform=transform))
    assert view.dataset[0][0].shape == (3, 8, 8)
    assert torch.equal(view.dataset[0][0], view.dataset[0][0])


class TwoViews:
    """Unknown to the table, and holding what is known."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.target_base = base

    def __call__(self, image: Any) -> Any:
        return torch.stack([self.base(image), self.base(image)])


def test_random_parts_of_an_unknown_transform_are_replaced() -> None:
    dataset = FakeData(2, (3, 20, 20), transform=TwoViews(training_v1()))
    transform = eval_view(dataset).dataset.transform
    first, second = transform(Image.effect_noise((20, 20), 50).convert("RGB"))
    assert torch.equal(first, second)
    assert "RandomErasing" in repr(transform.target_base)  # what goes by the name of target is left alone


class MyFlip(v1.RandomHorizontalFlip):  # type: ignore[misc]
    pass


class RandomShade:
    def __call__(self, image: Image.Image) -> Image.Image:
        return image.point(lambda level: int(level * random.random()))


def test_subclasses_count_and_unknown_random_ones_are_reported() -> None:
    view = eval_view(FakeData(2, (3, 8, 8), transform=v1.Compose([MyFlip(), RandomShade()])))
    assert "RandomHorizontalFlip removed" in view.notes
    assert "RandomShade kept as it is: not known here, and by its name it may be random" in view.notes
    assert any("differ" in note and "the global random generators" in note for note in view.notes)


def test_notes_name_each_replacement_once() -> None:
    notes = eval_view(FakeData(2, (3, 20, 20), transform=training_v1())).notes
    assert "RandomResizedCrop replaced by Resize and CenterCrop" in notes
    assert "RandomApply removed" in notes
    assert len(notes) == len(set(notes))


def test_identity_answers_in_the_way_it_is_called() -> None:
    identity = Identity()
    assert identity(1) == 1
    assert identity(1, return_tensors="pt") == 1
    assert identity(1, 2) == (1, 2)
    assert identity(image=1, mask=2) == {"image": 1, "mask": 2}


# --- trees ----------------------------------------------------------------------------------------


class Wrapper(Dataset[Any]):
    """The usual way to give the parts of a random_split their own transform."""

    def __init__(self, inner: Any, transform: Any) -> None:
        self.inner, self.transform = inner, transform

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        image, label = self.inner[index]
        return self.transform(image), label


def nested(leaf: Any) -> Any:
    halves = random_split(leaf, [0.5, 0.5], generator=torch.Generator().manual_seed(0))
    return ConcatDataset([Subset(ConcatDataset([halves[0], halves[1]]), [4, 1, 0]), halves[1]])


def test_nested_trees_are_followed_to_the_leaf(folder: Path) -> None:
    dataset = nested(ImageFolder(str(folder), transform=training_v1()))
    assert digests(eval_view(dataset).dataset) == digests(nested(ImageFolder(str(folder), transform=evaluation_v1())))
    assert digests(raw_view(dataset).dataset) == digests(nested(ImageFolder(str(folder))))


def test_a_leaf_met_twice_is_copied_once(folder: Path) -> None:
    leaf = ImageFolder(str(folder), transform=training_v1())
    view = raw_view(ConcatDataset([leaf, Subset(leaf, [0])])).dataset
    assert view.datasets[0] is view.datasets[1].dataset
    assert view.datasets[0] is not leaf


def test_wrappers_with_their_own_transform(folder: Path) -> None:
    dataset = Wrapper(Subset(ImageFolder(str(folder)), [5, 1]), training_v1())
    plain = Subset(ImageFolder(str(folder)), [5, 1])
    assert digests(raw_view(dataset).dataset) == digests(plain)
    assert digests(eval_view(dataset).dataset) == digests(Wrapper(plain, evaluation_v1()))


def test_stacked_data_sets(folder: Path) -> None:
    leaf = ImageFolder(str(folder), transform=training_v1())
    by_name = raw_view(
        StackDataset(image=Wrapper(leaf, v1.RandomHorizontalFlip()), label=Applied(list(range(6))))
    ).dataset
    assert isinstance(by_name[3]["image"][0], Image.Image)
    assert by_name[3]["label"] == 3


def test_plain_containers_are_data_sets() -> None:
    for dataset in ([(Image.new("L", (2, 2)), 1)], np.zeros((2, 4, 4)), torch.zeros(2, 3, 4, 4)):
        assert raw_view(dataset).dataset is dataset
        assert eval_view(dataset).notes == ()


class NoneHere:
    """Map-style without deriving from anything, dict items."""

    def __init__(self) -> None:
        self.transforms = [v1.RandomRotation(90), v1.ColorJitter(1)]
        self.augment = True

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = Image.effect_noise((8, 8), 9) if self.augment else Image.new("L", (8, 8), index)
        for transform in self.transforms:
            image = transform(image)
        return {"image": image, "label": index}


@pytest.mark.parametrize("make", [raw_view, eval_view])
def test_lists_of_transforms_and_an_augment_switch(make: Callable[[Any], Any]) -> None:
    dataset = NoneHere()
    view = make(dataset)
    assert view.dataset[1]["image"].getpixel((3, 3)) == 1
    assert "augment set to False" in view.notes
    assert dataset.augment


class KeywordCompose:
    """Called and indexed as the Compose of albumentations, with a generator a transform."""

    def __init__(self) -> None:
        self.transforms = [Noise(np.random.default_rng(0))]

    def __getitem__(self, index: int) -> Any:
        return self.transforms[index]

    def __call__(self, *, image: Any) -> dict[str, Any]:
        return {"image": self.transforms[0](image)}


class Keywords(Dataset[Any]):
    def __init__(self) -> None:
        self.transform = KeywordCompose()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.transform(image=np.zeros((4, 4), np.float32))["image"], index


def test_transforms_called_by_keyword() -> None:
    dataset = Keywords()
    assert not raw_view(dataset).dataset[0][0].any()
    view = eval_view(dataset)
    assert any("a generator of its own" in note for note in view.notes)
    assert np.array_equal(dataset[0][0], Keywords()[0][0])  # the user's generator has not moved


class Guarded(Dataset[Any]):
    """Forwards every attribute: copy.copy and pickle of it never end. Reading fills a cache."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.cache: dict[int, Any] = {}
        self.slots: list[Any] = [None] * len(inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        self.slots[index] = self.cache.setdefault(index, self.inner[index])
        return self.cache[index]


def test_caches_of_the_user_are_not_filled_with_what_the_audit_reads() -> None:
    dataset = Guarded(FakeData(3, (3, 8, 8), transform=v1.ToTensor()))
    view = raw_view(dataset).dataset
    assert isinstance(view[1][0], Image.Image)
    assert dataset.cache == {}
    assert dataset.slots == [None] * 3
    assert isinstance(dataset[1][0], torch.Tensor)


# --- randomness and fallbacks ---------------------------------------------------------------------


class OwnRng(Dataset[Any]):
    """Draws from generators of its own, one of them shared with its transform."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.old = np.random.RandomState(0)
        self.python = random.Random(0)
        self.torch = torch.Generator().manual_seed(0)
        self.transform = Noise(self.rng)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        shade = self.old.rand() + self.python.random() + float(torch.rand(1, generator=self.torch))
        return self.transform(np.full((4, 4), shade + self.rng.random(), np.float32)), index


class Noise:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, image: Any) -> Any:
        return image + self.rng.random((4, 4), np.float32)


@pytest.mark.parametrize("make", [raw_view, eval_view])
def test_own_generators_are_copied_and_reported(make: Callable[[Any], Any]) -> None:
    dataset, twin = OwnRng(), OwnRng()
    view = make(dataset)
    digests(view.dataset)
    assert digests(dataset) == digests(twin)
    assert any("drawn from a generator of its own" in note for note in view.notes)
    assert view.dataset.rng is not dataset.rng


def test_a_generator_shared_with_the_transform_stays_shared() -> None:
    view = eval_view(OwnRng()).dataset
    assert view.transform.rng is view.rng


class Function(Dataset[Any]):
    """Augments in code, where no table reaches."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return np.random.rand(4, 4) + random.random() + torch.rand(4, 4).numpy()  # noqa: NPY002


def test_global_randomness_is_reported_and_the_state_kept() -> None:
    before = global_state()
    view = eval_view(Function())
    assert global_state() == before
    assert any("drawn from the global random generators" in note for note in view.notes)


def test_kept_rng_restores_after_an_exception() -> None:
    before = global_state()
    with pytest.raises(OSError, match="truncated"), kept_rng():
        Broken(3)[0]
    assert global_state() == before


class Broken(FakeData):  # type: ignore[misc]
    """The first items cannot be read."""

    def __getitem__(self, index: int) -> Any:
        if index < 3:
            torch.rand(1)
            raise OSError("truncated")
        return super().__getitem__(index)


def test_items_that_cannot_be_read_do_not_stop_the_view() -> None:
    before = global_state()
    view = raw_view(Broken(6, (3, 8, 8), transform=v1.ToTensor()))
    assert isinstance(view.dataset[3][0], Image.Image)
    assert eval_view(Broken(3, (3, 8, 8))).notes == ()
    assert raw_view(FakeData(0)).notes == ()
    assert global_state() == before


class Encoded(Dataset[Any]):
    """Its transform is what makes a picture of the bytes."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return self.transform(bytes([index] * 16)), 0


def decode(data: bytes) -> Image.Image:
    return Image.frombytes("L", (4, 4), data)


def test_raw_view_keeps_a_transform_that_makes_the_picture() -> None:
    view = raw_view(Encoded(v1.Compose([decode, v1.RandomRotation(90)])))
    assert view.dataset[1][0].getpixel((0, 0)) == 1
    assert (
        view.notes[0] == "no picture can be read with the transforms bypassed: they are applied, random ones replaced"
    )
    assert "RandomRotation removed" in view.notes


class NeedsItsFlip(FakeData):  # type: ignore[misc]
    """Works with its own transform only."""

    def __getitem__(self, index: int) -> Any:
        image, label = FakeData(self.size, self.image_size)[index]
        return self.transform.transforms[0].forward(image).rotate(self.transform.transforms[0].p), label


def test_the_last_resort_is_the_data_set_as_it_is() -> None:
    dataset = NeedsItsFlip(2, (3, 8, 8), transform=v1.Compose([v1.RandomHorizontalFlip(p=0.5)]))
    view = raw_view(dataset)
    assert view.dataset.transform is dataset.transform
    assert (
        view.notes[1] == "nothing can be read with the random transforms replaced: read as it is, augmentation included"
    )


@pytest.mark.parametrize(("make", "method"), [(raw_view, "fork"), (eval_view, "fork"), (eval_view, "spawn")])
def test_views_travel_to_workers(folder: Path, make: Callable[[Any], Any], method: str) -> None:
    view = make(nested(ImageFolder(str(folder), transform=training_v2()))).dataset
    loader = DataLoader(view, batch_size=None, num_workers=1, multiprocessing_context=method)
    assert [digest(image) for image, _ in loader] == digests(view)


# --- Hugging Face ---------------------------------------------------------------------------------


class Batched:
    """A transform with something to look into; most are functions."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"pixel_values": [self.tf(image) for image in batch["image"]], "label": batch["label"]}


@pytest.fixture
def hub(folder: Path) -> Any:
    features = huggingface.Features(image=huggingface.Image(), label=huggingface.ClassLabel(names=["cat", "dog"]))
    samples = ImageFolder(str(folder)).samples
    columns = {"image": [path for path, _ in samples], "label": [label for _, label in samples]}
    return huggingface.Dataset.from_dict(columns, features=features)


def test_hugging_face_raw_view_drops_the_transform(hub: Any, folder: Path) -> None:
    dataset = hub.with_transform(Batched(training_v1()))
    view = raw_view(Subset(dataset, [5, 0]))
    assert digests(view.dataset) == digests(Subset(ImageFolder(str(folder)), [5, 0]))
    assert "format 'custom' bypassed: the audit reads what is stored" in view.notes
    assert dataset.format["type"] == "custom"


def test_hugging_face_eval_view_looks_into_the_transform(hub: Any, folder: Path) -> None:
    dataset = hub.with_transform(Batched(training_v1()))
    view = eval_view(dataset)
    assert digests(view.dataset) == digests(ImageFolder(str(folder), transform=evaluation_v1()))
    assert "RandomErasing" in repr(dataset.format["format_kwargs"]["transform"].tf)


def test_hugging_face_function_is_kept_and_reported(hub: Any) -> None:
    tf = training_v1()

    def augment(batch: dict[str, Any]) -> dict[str, Any]:
        return {"pixel_values": [tf(image) for image in batch["image"]]}

    notes = eval_view(hub.with_transform(augment)).notes
    assert "its transform augment is code and kept as it is, augmentation included" in notes
    assert any("the global random generators" in note for note in notes)
    assert eval_view(hub.with_format("torch")).notes == ()


# --- where an item comes from ---------------------------------------------------------------------


class Shuffled(Dataset[Any]):
    def __init__(self, dataset: Any) -> None:
        self.dataset, self.order = dataset, list(reversed(range(len(dataset))))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.order[index]]


class Applied(Dataset[Any]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def follow(dataset: Any, path: str) -> Any:
    return eval(f"dataset.{path}" if path else "dataset", {"dataset": dataset})


def test_origin_finds_the_very_item(folder: Path) -> None:
    dataset = nested(Applied(ImageFolder(str(folder))))
    for index in range(-len(dataset), len(dataset)):
        path, position = origin(dataset, index)
        leaf = follow(dataset, path)
        assert isinstance(leaf, ImageFolder)
        assert digest(leaf[position][0]) == digest(dataset[index][0])
        assert file_name(dataset, index) == leaf.samples[position][0]
    assert origin(dataset, 5).path == "datasets[1].dataset.dataset"


def test_origin_of_a_leaf_and_of_an_unknown_order() -> None:
    leaf = FakeData(4)
    assert origin(leaf, -1) == Origin("", 3)
    assert origin(Shuffled(leaf), 1) == Origin("", 1)
    assert origin(Subset(leaf, torch.tensor([3, -1])), 1) == Origin("dataset", 3)  # type: ignore[arg-type]
    assert origin([1, 2], 0) == Origin("", 0)
    with pytest.raises(IndexError, match="index 4 is outside a data set of 4 samples"):
        origin(leaf, 4)


def test_file_name_where_the_leaf_says_so(folder: Path) -> None:
    dataset = Applied(FakeData(2))
    dataset.dataset.paths = [Path("a.png"), Path("b.png")]
    assert file_name(dataset, 1) == "b.png"
    assert file_name(ImageFolder(str(folder)), -1) == str(folder / "dog" / "2.png")
    assert file_name(FakeData(2), 0) is None
    assert file_name([1, 2], 0) is None


def test_class_names(folder: Path, hub: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    leaf = ImageFolder(str(folder))
    other = tmp_path_factory.mktemp("other")
    (other / "bird").mkdir()
    Image.new("L", (4, 4)).save(other / "bird" / "0.png")
    assert class_names(nested(leaf)) == ("cat", "dog")
    assert class_names(Subset(hub, [0])) == ("cat", "dog")
    assert class_names(ConcatDataset([leaf, hub])) == ("cat", "dog")
    assert class_names(ConcatDataset([leaf, ImageFolder(str(other))])) is None
    assert class_names(ConcatDataset([leaf, FakeData(2)])) is None
    assert class_names(ImageFolder(str(folder), target_transform=abs)) is None
    assert class_names([1, 2]) is None


# --- what is no map-style data set ----------------------------------------------------------------


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter([1])


class NoLength(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "got a Stream: read the items into a list first"),
        (NoLength(), "got a NoLength: .*it has no length"),
        (iter([1]), "got a list_iterator: read the items"),
        ("folder/", "got a str: open it first"),
        (Path("folder"), "open it first"),
        ({"train": [1], "val": [2]}, r"pass one of its values \(train, val\), or all of them to audit_splits"),
        (DataLoader([1]), "got a DataLoader: pass its .dataset"),  # type: ignore[arg-type]
        (FakeData, "got the class FakeData: make an instance of it"),
        (np.array(3), "it has no length"),
        (None, "got a NoneType"),
    ],
)
def test_check_map_style_says_what_to_do(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_map_style(dataset)
    with pytest.raises(DataError, match="a map-style data set is needed"):
        eval_view(dataset)


def test_check_map_style_accepts_what_can_be_indexed(hub: Any) -> None:
    for dataset in ([1], (1,), np.zeros((2, 3)), torch.zeros(2, 3), FakeData(1), NoneHere(), hub):
        check_map_style(dataset)
