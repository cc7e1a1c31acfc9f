"""Text, audio, signals and rows: how items are recognized and batched for a backbone, end to end."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from selfclean_hooks.data.images import to_image
from selfclean_hooks.data.items import Item, split
from selfclean_hooks.data.reader import ImageDataset, as_input, pixels
from selfclean_hooks.data.signals import is_signal
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.errors import DataError
from tests.helpers.command_line import Call, call  # noqa: F401, a fixture
from tests.helpers.report_data import held

PHOTO = Image.new("RGB", (4, 4))
SOUND = np.sin(np.arange(400.0))


class Caption(NamedTuple):
    frame: Any
    text: str


class Review(NamedTuple):
    text: str
    stars: int


@dataclass
class Utterance:
    speaker: str
    audio: Any
    label: int


class Decoder:
    """As torchcodec's AudioDecoder."""

    def get_all_samples(self) -> Any:
        return type("Samples", (), {"data": torch.ones(2, 5)})


@pytest.mark.parametrize(
    ("item", "value", "label"),
    [
        ({"text": "t", "label": 1}, "t", 1),
        ({"label": 1, "sentence": "s", "idx": 9}, "s", 1),
        ({"text": "t", "input_ids": [1, 2], "attention_mask": [1, 1]}, [1, 2], None),
        ({"features": (1.0, 2.0), "target": "a"}, (1.0, 2.0), "a"),
        ({"audio": {"array": SOUND, "sampling_rate": 8000, "path": None}, "label": 2}, SOUND, 2),
        (({"array": SOUND, "sampling_rate": 8000}, 3), SOUND, 3),
        (Utterance("her", {"array": SOUND, "sampling_rate": 8000}, 4), SOUND, 4),
        ({"image": PHOTO, "text": "a caption"}, PHOTO, None),  # an image comes before other values
        (Caption(PHOTO, "a caption"), PHOTO, "a caption"),
        (Review("t", 5), "t", 5),
    ],
)
def test_items_of_text_sound_and_rows(item: Any, value: Any, label: Any) -> None:
    found = split(item)
    assert found.value is value or found.value == value
    assert found.label == label


def test_a_sound_may_be_a_decoder() -> None:
    found = split({"audio": Decoder(), "label": 1})
    assert torch.equal(found.value, torch.ones(2, 5))
    assert split(("t", 1)) == Item("t", 1)


def test_an_image_under_an_unusual_name_is_not_skipped_for_its_caption() -> None:
    assert split({"photo": PHOTO, "text": "a caption"}).value is PHOTO
    with pytest.raises(
        DataError, match=r"under one of the keys 'pixel_values', .* or text, .*'features'; its keys: 'p"
    ):
        split({"photo": PHOTO, "drawing": PHOTO, "text": "a caption"})


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_signals_and_images_are_distinguished_by_their_shape(make: Any) -> None:
    for shape in ((1, 32), (2, 400), (8, 64), (400, 2), (16000, 1)):
        assert is_signal(shape)
        assert (to_image(make(shape)), pixels(make(shape))) == (None, -1)
        assert tuple(as_input(make(shape)).shape) == shape
    for shape in ((8, 8), (1, 31), (8, 63), (9, 900), (28, 28)):
        assert not is_signal(shape)
        assert pixels(make(shape)) == shape[0] * shape[1]
    assert not is_signal((0, 400))
    assert not is_signal((3, 8, 640))


def batches(data: list[Any]) -> list[Any]:
    """What a function is given, and features that tell the samples apart."""
    seen: list[Any] = []

    def remember(batch: Any) -> Any:
        seen.append(batch)
        return np.random.default_rng(0).normal(size=(len(data), 3))

    embed([(value, 0) for value in data], remember, batch_size=99, progress=False)
    return seen


def test_what_a_function_gets_of_each_kind() -> None:
    assert batches(["a", "bb", "c"]) == [["a", "bb", "c"]]
    (rows,) = batches([np.arange(3.0), np.arange(1.0, 4)])
    assert torch.equal(rows, torch.tensor([[0.0, 1, 2], [1, 2, 3]], dtype=torch.float64))
    (ids,) = batches([[1, 2, 3], [4, 5, 6]])
    assert torch.equal(ids, torch.tensor([[1, 2, 3], [4, 5, 6]]))
    (table,) = batches([{"age": 3, "job": "clerk"}, {"age": 4, "job": "cook"}])
    assert (table["age"].tolist(), table["job"]) == ([3, 4], ["clerk", "cook"])
    (signals,) = batches([np.zeros((2, 90)), np.ones((2, 90))])
    assert signals.shape == (2, 2, 90)


def test_bytes_come_as_floats_whatever_they_are_handed_on_with() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    expected = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
    for kept in (levels, [Image.fromarray(image) for image in levels], [levels[0], expected[1]]):
        (images,) = batches(list(kept))
        assert torch.equal(images, expected)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_sequences_of_several_lengths_are_a_list_for_a_function(make: Any) -> None:
    (found,) = batches([make([1, 2, 3]), make([4, 5])])
    assert [part.tolist() for part in found] == [[1, 2, 3], [4, 5]]
    assert all(isinstance(part, torch.Tensor) for part in found)


def test_a_module_and_images_still_need_one_shape() -> None:
    sounds = [(torch.rand(20 + i), 0) for i in range(4)]
    with pytest.raises(DataError, match="must have one shape"):
        embed(sounds, torch.nn.Linear(20, 3), progress=False)
    with pytest.raises(DataError, match="must have one shape"):
        batches([torch.rand(3, 8, 8 + i) for i in range(4)])


def test_a_backbone_for_images_says_what_text_needs() -> None:
    with pytest.raises(
        DataError, match="embeds images, got str at index 1: pass a function from a batch of such items"
    ):
        ImageDataset([{"text": "a"}, {"text": "b"}])[1]


SOURCE = """
import numpy as np

def texts():
    words = ["red green blue paint brush", "goal match ball league coach"]
    rows = [{"text": f"{words[i % 2]} number {i} {'x' * (i % 5)}", "label": ("art", "sport")[i % 2]} for i in range(60)]
    rows[40] = dict(rows[4], text=rows[4]["text"] + ".")
    rows[7]["label"] = "art"
    return rows + [{"text": "<script>alert('text')</script>", "label": "art"}]

def letters(batch):
    assert isinstance(batch, list)
    found = np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz<.0123456789"] for text in batch], float)
    return found - 0.9
"""


def test_texts_are_audited_from_the_command_line(
    call: Call,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "reviews_of_texts.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran = call(
        "audit", "reviews_of_texts:texts", "--backbone", "reviews_of_texts:letters", "-o", "out", "--format", "json"
    )
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert found["samples"] == 61
    assert found["not_run"] == {}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    texts = [preview["text"] for preview in held(page)["previews"].values()]
    assert any("<script>alert('text')" in text for text in texts)
    assert page.count("<script") == 2
    assert "red green blue paint brush number 4 xxxx" in texts
    again = call("report", "out")
    assert again.status == 0
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == page
