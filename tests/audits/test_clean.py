"""`clean`: data sets, splits and streams without what their audit drops, as the same type."""

import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from selfclean_hooks import Audit, AuditedDataset, Policy, SplitsAudit, Thresholds, audit, clean
from selfclean_hooks.embedding import stream as streams
from selfclean_hooks.errors import ContaminationError, DataError, SettingError
from selfclean_hooks.testing import contaminate, digits, off_topic_patches

FIRM = Thresholds(near_duplicates=0.2, label_errors=0.4)
RELABEL = Policy(label_errors="relabel")
FEATURES = huggingface.Features(
    image=huggingface.Image(), label=huggingface.ClassLabel(10), id=huggingface.Value("int64")
)


def pixels(batch: Any) -> Any:
    return batch.flatten(1)


CHOICES: dict[str, Any] = {"backbone": pixels, "thresholds": FIRM, "progress": False}


@pytest.fixture(scope="module")
def planted() -> Any:
    images, labels = digits()
    return contaminate(images[:60], labels[:60], off_topic_patches(20, 8), seed=0)


@pytest.fixture(scope="module")
def hub(planted: Any) -> huggingface.Dataset:
    columns = {"image": list(planted.images), "label": planted.labels.tolist(), "id": list(range(len(planted.images)))}
    return huggingface.Dataset.from_dict(columns, features=FEATURES)


@pytest.fixture(scope="module")
def expected(hub: Any) -> Audit:
    """What a stream of the data is to agree with."""
    return audit(hub, policy=Policy("drop", "drop", "drop", "drop", leakage="drop"), **CHOICES)


def ids(data: Any) -> list[int]:
    return [int(item["id"]) for item in data]


def test_a_data_set_of_hugging_face_stays_one(hub: huggingface.Dataset, expected: Audit) -> None:
    found = clean(hub, **CHOICES)
    assert isinstance(found, huggingface.Dataset)
    assert found.features == hub.features
    assert ids(found) == expected.clean_indices.tolist() != list(range(len(hub)))


def test_another_data_set_is_an_audited_one(planted: Any, expected: Audit) -> None:
    x = torch.from_numpy(planted.images).float()[:, None] / 255
    found: Any = clean(TensorDataset(x, torch.from_numpy(planted.labels)), **CHOICES)
    assert isinstance(found, AuditedDataset)
    assert found.indices.tolist() == expected.clean_indices.tolist()


def test_nothing_dropped_is_the_data_itself(hub: huggingface.Dataset) -> None:
    assert clean(hub, Policy(), **CHOICES) is hub
    stream = hub.to_iterable_dataset()
    assert clean(stream, Policy(), **CHOICES) is stream


def test_splits_stay_splits_and_training_data_alone_is_changed(hub: huggingface.Dataset, tmp_path: Path) -> None:
    splits = huggingface.DatasetDict(test=hub.select(range(10)), train=hub)
    found = clean(splits, output_dir=tmp_path, **CHOICES)
    assert isinstance(found, huggingface.DatasetDict)
    assert list(found) == ["test", "train"]
    assert found["test"] is splits["test"]
    assert not set(ids(found["train"])) & set(range(10))
    assert set(SplitsAudit.load(tmp_path).audits) == {"train", "test"}


def test_a_single_split_is_audited_alone(hub: huggingface.Dataset, expected: Audit) -> None:
    found = clean(huggingface.DatasetDict(train=hub), **CHOICES)
    assert ids(found["train"]) == expected.clean_indices.tolist()


def test_new_labels_are_those_of_the_column(hub: huggingface.Dataset) -> None:
    found = clean(hub, RELABEL, **CHOICES)
    audited = audit(hub, policy=RELABEL, **CHOICES)
    new = {i: int(label) for i, label in audited.new_labels.items()}
    given = hub["label"]
    assert new
    assert found["label"][:] == [new.get(i, given[i]) for i in audited.clean_indices.tolist()]
    assert found.features == hub.features


def test_a_stream_agrees_with_the_data_set(hub: Any, expected: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHUNK", 25)  # several chunks, copies across them
    stream = hub.to_iterable_dataset(num_shards=4)
    for key in (None, "id", lambda item: item["id"]):
        found = clean(stream, key=key, **CHOICES)
        assert isinstance(found, huggingface.IterableDataset)
        assert ids(found) == ids(found) == expected.clean_indices.tolist()
    assert sorted(ids(found.shuffle(seed=1, buffer_size=200))) == expected.clean_indices.tolist()


def test_a_stream_in_several_workers(hub: huggingface.Dataset, expected: Audit) -> None:
    found: Any = clean(hub.to_iterable_dataset(num_shards=4), key="id", **CHOICES)
    loader = DataLoader(found.select_columns(["id"]), batch_size=None, num_workers=2)
    assert sorted(ids(loader)) == expected.clean_indices.tolist()


def test_a_report_of_a_stream_shows_its_images(hub: huggingface.Dataset, tmp_path: Path, expected: Audit) -> None:
    clean(hub.to_iterable_dataset(), key="id", output_dir=tmp_path, **CHOICES)
    saved = Audit.load(tmp_path)
    assert saved.thumbnails.keys() == expected.thumbnails.keys()
    assert saved.names == tuple(map(str, range(len(hub))))
    np.testing.assert_allclose(saved.scores.label, expected.scores.label, rtol=1e-5)


def test_new_labels_in_a_stream(hub: huggingface.Dataset) -> None:
    found = clean(hub.to_iterable_dataset(), RELABEL, **CHOICES)
    labels = {int(item["id"]): item["label"] for item in found}
    assert labels == dict(zip(ids(whole := clean(hub, RELABEL, **CHOICES)), whole["label"], strict=True))


def test_streams_by_split(hub: huggingface.Dataset) -> None:
    both = huggingface.IterableDatasetDict(
        test=hub.select(range(10)).to_iterable_dataset(), train=hub.to_iterable_dataset()
    )
    found = clean(both, key="id", **CHOICES)
    assert isinstance(found, huggingface.IterableDatasetDict)
    assert found["test"] is both["test"]
    assert not set(ids(found["train"])) & set(range(10))


class Stream(IterableDataset[Any]):
    """(image, label) of an array, as torch has it."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __iter__(self) -> Iterator[Any]:
        for image, label in zip(self.images, self.labels, strict=True):
            yield Image.fromarray(image), int(label)


def contents(stream: Any) -> Counter[bytes]:
    return Counter(image.tobytes() + bytes([label]) for image, label in stream)


def test_a_stream_of_torch_and_its_equal_items(planted: Any) -> None:
    images = np.concatenate([planted.images, planted.images[:3], planted.images[:3]])
    labels = np.concatenate([planted.labels, planted.labels[:3], planted.labels[:3]])
    stream = Stream(images, labels)
    found: Any = clean(stream, Policy(near_duplicates="drop"), **CHOICES)
    assert contents(found) == contents(found)  # the second pass as the first
    assert set(contents(found).values()) == {1}  # of three equal items one is left
    assert len(pickle.dumps(found)) > 0
    assert found.labels is labels  # of the stream itself


def test_memory_holds_no_more_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHUNK", 8)
    alive = [0, 0]  # now, and at most

    class Item(dict[str, Any]):
        def __init__(self, index: int) -> None:
            rng = np.random.default_rng(index)
            super().__init__(image=rng.random((3, 4, 4), np.float32), label=index % 2, id=index)
            alive[0] += 1
            alive[1] = max(alive)

        def __del__(self) -> None:
            alive[0] -= 1

    class Counted(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from map(Item, range(100))

    clean(Counted(), key="id", backbone=nn.Flatten(), progress=False, policy=Policy())
    assert alive[1] <= 3 * 8 + 32


def test_random_items_need_a_key(planted: Any) -> None:
    class Augmented(Stream):
        def __iter__(self) -> Iterator[Any]:
            for index, (image, label) in enumerate(super().__iter__()):
                noise = np.random.default_rng().integers(0, 9, (8, 8))
                yield {
                    "image": Image.fromarray((np.array(image) // 2 + noise).astype(np.uint8)),
                    "y": label,
                    "id": index,
                }

    stream = Augmented(planted.images, planted.labels)
    with pytest.raises(DataError, match=r"must give the same samples in every pass.*key='id'"):
        clean(stream, **CHOICES)
    found: Any = clean(stream, key="id", **CHOICES)
    assert 0 < len(ids(found)) == len(ids(found)) < len(planted.images)


def test_keys_must_be_there_and_unique(hub: huggingface.Dataset) -> None:
    stream = hub.to_iterable_dataset()
    with pytest.raises(DataError, match="key='name' is no field of an item, got 'image', 'label', 'id'"):
        clean(stream, key="name", **CHOICES)
    with pytest.raises(DataError, match="keys must say which sample is meant"):
        clean(stream, key="label", **CHOICES)


def test_what_makes_no_sense_is_a_sentence(hub: huggingface.Dataset) -> None:
    stream = hub.to_iterable_dataset()
    with pytest.raises(SettingError, match="splits must be data sets, or streams all of them"):
        clean({"train": hub, "test": stream})
    with pytest.raises(SettingError, match="splits must be data sets, or streams all of them, got none"):
        clean({})
    with pytest.raises(SettingError, match="key= is for streams"):
        clean(hub, key="id")
    with pytest.raises(SettingError, match="labels= are in the order of a data set"):
        clean(stream, labels=[1] * len(hub))
    with pytest.raises(DataError, match="the stream must hold samples, got an empty one"):
        clean(stream.take(0), **CHOICES)
    with pytest.raises(DataError, match="at least 2, got 1"):
        clean(stream.take(1), **CHOICES)
    with pytest.raises(ContaminationError):
        clean(stream, Policy(label_errors="raise"), **CHOICES)


def test_shards_of_a_webdataset(planted: Any, tmp_path: Path, expected: Audit) -> None:
    webdataset: Any = pytest.importorskip("webdataset", reason="webdataset is not installed")
    with webdataset.ShardWriter(str(tmp_path / "%02d.tar"), maxcount=25, verbose=0) as writer:
        for index, (image, label) in enumerate(zip(planted.images, planted.labels, strict=True)):
            writer.write({"__key__": f"{index:04d}", "png": Image.fromarray(image), "cls": int(label)})
    shards = sorted(map(str, tmp_path.glob("*.tar")))
    stream = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    found: Any = clean(stream, output_dir=tmp_path / "audit", **CHOICES)
    kept = [int(item["__key__"]) for item in found]
    assert kept == [int(item["__key__"]) for item in found] == expected.clean_indices.tolist()
    assert Audit.load(tmp_path / "audit").names is not None
    loader = DataLoader(found, batch_size=None, num_workers=2)
    assert sorted(int(item["__key__"]) for item in loader) == kept


def test_chunks_of_litdata(planted: Any, tmp_path: Path, expected: Audit) -> None:
    litdata: Any = pytest.importorskip("litdata", reason="litdata is not installed")
    writer = litdata.streaming.cache.Cache(str(tmp_path), chunk_size=25)
    for index, (image, label) in enumerate(zip(planted.images, planted.labels, strict=True)):
        writer[index] = {"image": Image.fromarray(image), "label": int(label), "id": index}
    writer.done()
    writer.merge()
    found: Any = clean(litdata.StreamingDataset(str(tmp_path)), key="id", **CHOICES)
    assert ids(found) == expected.clean_indices.tolist()
