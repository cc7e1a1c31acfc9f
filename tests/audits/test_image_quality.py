"""The issue "image_quality": measured in the one read, on request, and shown wherever issues are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from selfclean_hooks import Audit, Limits, Policy, SplitsAudit, Thresholds, audit, audit_splits, clean
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.embedding import stream
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks_lightning import DataAudit
from tests.detectors.test_image_quality import ASPECTS, photo

N, SIDE = 24, 32
POOR = {3: "dark", 8: "bright blank", 11: "blank", 17: "odd_shape"}


def images() -> list[Image.Image]:
    made = [photo(SIDE, seed) for seed in range(N)]
    made[3] = made[3].point(lambda value: value // 6)
    made[8] = made[8].point(lambda value: 235 + value // 13)
    made[11] = Image.new("RGB", (SIDE, SIDE), (120, 130, 140))
    made[17] = made[17].resize((4 * SIDE, SIDE // 2))
    return made


class Counting(Dataset[Any]):
    """(image, label), and how often each was read."""

    def __init__(self, made: list[Image.Image]) -> None:
        self.images, self.reads = made, [0] * len(made)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        self.reads[index] += 1
        return self.images[index], index % 2


def squeezed(batch: Any) -> torch.Tensor:
    return torch.stack([image[:, ::4, :4].float().mean((1, 2)) for image in batch])


CHOICES: dict[str, Any] = {"backbone": squeezed, "batch_size": 1, "progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(images()):
        (place / str(number % 2)).mkdir(exist_ok=True)
        image.save(place / str(number % 2) / f"{number:02}.png")
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> Audit:
    return audit(ImageFolder(folder), image_quality=True, **CHOICES)


def poor_of(found: Audit) -> dict[int, str]:
    """Number in the name of the file: the aspects below 1/2."""
    aspects = found.scores.aspects["image_quality"]
    names = [Path(name).stem for name in found.names or ()]
    low = {int(names[i]): np.array(ASPECTS)[aspects[i] < 0.5].tolist() for i in found.worst("image_quality").tolist()}
    return {number: " ".join(words) for number, words in sorted(low.items())}


def test_poor_images_are_found_by_name(found: Audit) -> None:
    assert poor_of(found) == POOR
    frame = found.frame.assign(number=[int(Path(name).stem) for name in found.names or ()]).set_index("number")
    for number, aspects in POOR.items():
        score = min(frame[f"{aspect}_score"][number] for aspect in aspects.split())
        assert score == frame["image_quality_score"][number] < 0.5
        words = aspects.replace(" ", ", ").replace("_", " ")
        assert f"{words} (score {score:.4g} below 0.5)" in frame["reason"][number]
    assert frame["is_image_quality_issue"].sum() == len(POOR)
    assert found.contamination["image_quality"] == len(POOR) / N


def test_it_is_not_looked_for_unless_asked(folder: Path) -> None:
    without = audit(ImageFolder(folder), **CHOICES)
    assert "image_quality" not in without.contamination
    assert "dark_score" not in without.frame
    with pytest.raises(SettingError, match=r"'drop', but it is not looked for: pass image_quality=True"):
        audit(ImageFolder(folder), policy=Policy(image_quality="drop"), progress=False)
    (failure,) = without.check(Limits(image_quality=0.1)).failures
    assert (
        "image_quality: not run (it is measured on request: audit with --image-quality, or image_quality=True)"
        in failure
    )


def test_policy_limits_and_thresholds(found: Audit) -> None:
    dropped = found.at(policy=Policy(image_quality="drop"))
    assert set(range(N)) - set(dropped.clean_indices.tolist()) == set(found.worst("image_quality").tolist())
    assert found.check(Limits(image_quality=len(POOR) / N)).passed
    assert not found.check(Limits(image_quality=0.1)).passed
    assert found.at(thresholds=Thresholds(image_quality=None)).contamination["image_quality"] == 0
    stricter = found.at(thresholds=Thresholds(image_quality=0.2))
    assert set(stricter.worst("image_quality")) < set(found.worst("image_quality"))


def test_it_is_kept_in_the_folder_and_shown(found: Audit, tmp_path: Path) -> None:
    found.save(tmp_path)
    again = Audit.load(tmp_path)
    np.testing.assert_array_equal(again.scores.of("image_quality"), found.scores.of("image_quality"))
    assert again.decisions.reason == found.decisions.reason
    assert poor_of(again) == POOR
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    shown = data["issues"]["image_quality"]["findings"]
    words = {int(Path((found.names or ())[each["samples"][0]]).stem): each["words"] for each in shown}
    assert {number: words[number] for number in POOR} == {
        number: aspects.replace(" ", ", ").replace("_", " ") for number, aspects in POOR.items()
    }
    assert "," not in words[0]  # what is nearest to poor about one that is not
    checked = json.loads(as_json(found, found.check(Limits(image_quality=0.0))))["verdict"]["checks"]
    (check,) = [check for check in checked if check["issue"] == "image_quality"]
    assert check["found"] == len(POOR)
    assert any("dark (score" in entry["reason"] for entry in check["worst"])


def test_each_image_is_read_once() -> None:
    data, twin = Counting(images()), Counting(images())
    measured = audit(data, image_quality=True, max_items=1, **CHOICES)
    audit(twin, max_items=1, **CHOICES)
    assert data.reads == twin.reads
    assert set(measured.worst("image_quality")) == set(POOR)


def test_the_stored_image_is_measured_whatever_the_transform_makes_of_it(folder: Path) -> None:
    transform = transforms.Compose(
        [transforms.Resize((8, 8)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.2] * 3)]
    )
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    data = ImageFolder(folder, transform=transform)
    assert poor_of(audit(data, backbone=module, image_quality=True, progress=False)) == POOR


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_have_no_score(workers: int, folder: Path, tmp_path: Path) -> None:
    for number, image in enumerate(images()):
        image.save(tmp_path / f"{number:02}.png")
    (tmp_path / "05.png").write_bytes(b"none")
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    found = audit(files, image_quality=True, num_workers=workers, **CHOICES)
    assert list(found.scores.errors) == [5]
    assert np.isnan(found.scores.of("image_quality")).nonzero()[0].tolist() == [5]
    assert set(found.worst("image_quality")) == set(POOR)


@pytest.mark.parametrize("data", [["a", "b", "c"], [np.zeros(5), np.ones(5), np.ones(5)], [np.zeros((7, 9, 9))] * 3])
def test_what_is_no_image_is_a_sentence(data: Any) -> None:
    with pytest.raises(DataError, match=r"measured on images of up to 4 channels, and the sample at index 0 is none"):
        audit(data, backbone=lambda batch: torch.eye(len(batch)), image_quality=True, progress=False)


def test_splits_are_each_measured_against_their_own(folder: Path, tmp_path: Path) -> None:
    night = [photo(SIDE, seed + 100).point(lambda value: value // 10) for seed in range(8)]
    found = audit_splits({"train": Counting(images()), "val": Counting(night)}, image_quality=True, **CHOICES)
    assert set(found.audits["train"].worst("image_quality")) == set(POOR)
    assert len(found.audits["val"].worst("image_quality")) == 0
    found.save(tmp_path)
    assert set(SplitsAudit.load(tmp_path).audits["train"].worst("image_quality")) == set(POOR)


def test_clean_drops_what_it_was_asked_to_look_for() -> None:
    kept: Any = clean(Counting(images()), image_quality=True, **CHOICES)
    assert not set(POOR) & set(kept.indices.tolist())


def test_streams_are_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK", 5)  # in several parts

    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(enumerate(images()))

    kept = clean(
        Stream(), policy=Policy(image_quality="drop"), image_quality=True, input_key=1, label_key=0, **CHOICES,
    )  # fmt: skip
    assert len(list(kept)) == N - len(POOR)


def test_on_the_command_line(folder: Path, tmp_path: Path, call: Any) -> None:
    options = ("--backbone", "tests.audits.test_image_quality:squeezed", "--batch-size", "1", "--no-progress")
    ran = call("audit", folder, "-o", tmp_path / "out", *options, "--image-quality", "--max-image-quality", "1%")
    assert ran.status == 1
    assert "failed: image quality 16.7% exceeds 1%" in ran.out
    assert len(Audit.load(tmp_path / "out").clean_indices) <= N - len(POOR)
    np.savez(tmp_path / "e.npz", embeddings=np.eye(5))
    refused = call("audit", tmp_path / "e.npz", "-o", tmp_path / "2", "--image-quality")
    assert (refused.status, "e.npz holds embeddings, not images: leave --image-quality" in refused.err) == (2, True)


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="image_quality must be True or False, got 'yes'"):
        audit([], image_quality="yes")  # type: ignore[arg-type]
    AuditSettings(policy=Policy(image_quality="ignore"))
    with pytest.raises(SettingError, match="'raise', but it is not looked for"):
        DataAudit(policy=Policy(image_quality="raise"))
    DataAudit(policy=Policy(image_quality="raise"), image_quality=True)
