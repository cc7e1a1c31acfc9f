"""Images with known issues on disk, from the folder to the report, as a user goes."""

import base64
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from selfclean_hooks import Audit, AuditedDataset, Limits, Policy, audit
from selfclean_hooks.testing import Contaminated, contaminate, digits, off_topic_patches

ALL = Policy("drop", "drop", "drop", "drop")


@pytest.fixture(scope="module")
def planted() -> Contaminated:
    images, labels = digits()
    some = np.random.default_rng(0).permutation(len(images))[:300]
    patches = off_topic_patches(30, 8, 0)
    return contaminate(
        images[some], labels[some], patches, seed=0, near_duplicates=0.05, off_topic=0.05, label_errors=0.05
    )


@pytest.fixture(scope="module")
def root(planted: Contaminated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders; the names of the files are positions among the planted."""
    root = tmp_path_factory.mktemp("digits")
    for index, (image, label) in enumerate(zip(planted.images, planted.labels, strict=True)):
        folder = root / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{index:04}.png")
    return root


def pixels(batch: torch.Tensor) -> torch.Tensor:
    return batch.flatten(1)


@pytest.fixture(scope="module")
def dataset(root: Path) -> ImageFolder:
    transform = v2.Compose([v2.RandomRotation(30), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    return ImageFolder(str(root), transform)


@pytest.fixture(scope="module")
def found(dataset: ImageFolder) -> Audit:
    return audit(dataset, pixels, policy=ALL, progress=False)


def test_what_was_planted_comes_first(found: Audit, dataset: ImageFolder, planted: Contaminated) -> None:
    position = np.array([int(Path(path).stem) for path, _ in dataset.samples])  # class folders change the order
    assert found.names == tuple(path for path, _ in dataset.samples)
    assert found.frame["given_label"].tolist() == planted.labels[position].astype(str).tolist()
    off_topic = planted.is_off_topic[position]
    first = np.argsort(found.frame["off_topic_score"].to_numpy(), kind="stable")[: off_topic.sum()]
    assert off_topic[first].mean() >= 0.7
    wrong = planted.is_label_error[position]
    first = np.argsort(found.frame["label_score"].to_numpy(), kind="stable")[: wrong.sum()]
    assert wrong[first].mean() >= 0.5
    pairs = {frozenset(pair) for pair in planted.duplicate_pairs.tolist()}
    listed = found.pairs[["index_1", "index_2"]].to_numpy()[: len(pairs)]
    assert np.mean([frozenset(position[pair].tolist()) in pairs for pair in listed]) >= 0.4


def test_a_saved_audit_is_the_same_gates_and_reports(found: Audit, tmp_path: Path) -> None:
    found.save(tmp_path / "audit")
    loaded = Audit.load(tmp_path / "audit")
    assert loaded.frame.equals(found.frame)
    assert np.array_equal(loaded.clean_indices, found.clean_indices)
    assert loaded.check(Limits(near_duplicates=1.0)).passed
    assert not loaded.check(Limits(off_topic=0.0, near_duplicates=0.0)).passed
    assert loaded.provenance["encoder"]["name"] == "pixels"
    assert 1 <= loaded.provenance["encoder"]["rank_me"] <= 192
    assert len(loaded.thumbnails) > 10
    page = (tmp_path / "audit" / "report.html").read_text()
    assert all(base64.b64encode(small).decode() in page for small in loaded.thumbnails.values())


def test_clean_indices_index_the_data_set(found: Audit, dataset: ImageFolder) -> None:
    clean = Subset(dataset, found.clean_indices.tolist())
    dropped = found.frame.index[found.frame["action"] == "drop"]
    assert len(clean) + len(dropped) == len(dataset)
    assert {clean[i][1] for i in range(len(clean))} == set(range(10))
    wrapped = AuditedDataset(dataset, backbone=pixels, policy=ALL, progress=False)
    assert np.array_equal(wrapped.indices, found.clean_indices)


def test_the_data_set_still_augments_after_the_audit(dataset: ImageFolder, found: Audit) -> None:
    assert len(found) == len(dataset)
    assert not all(torch.equal(dataset[i][0], dataset[i][0]) for i in range(20))
