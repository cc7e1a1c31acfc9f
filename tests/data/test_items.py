from collections import UserDict
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.images import as_array, to_image, to_rgb
from selfclean_hooks.data.items import Item, ItemLabel, item_label, split
from selfclean_hooks.errors import DataError


class Animal(Enum):
    cat = "felis"
    dog = "canis"


class Named(NamedTuple):
    target: int
    image: str


class ImageFirst(NamedTuple):
    image: str
    category: int


class MaskFirst(NamedTuple):
    mask: str
    image: str


class Positional(NamedTuple):
    a: str
    b: int


@dataclass
class Sample:
    identifier: int
    image: str
    label: int


@dataclass
class Bare:
    pixels: str
    weight: float


MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "LA", "PA", "RGBX", "RGBa", "La"]
MODES += ["I;16", "I;16L", "I;16B", "I;16N"]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (("v", 1), ("v", 1)),
        (["v", 1, "more"], ("v", 1)),
        (("v",), ("v", None)),
        ({"image": "v", "label": 1}, ("v", 1)),
        ({"y": 1, "x": "v"}, ("v", 1)),
        ({"img": "v", "target": 1, "id": 7}, ("v", 1)),
        ({"image": "stored", "pixel_values": "v", "labels": 1}, ("v", 1)),
        ({"image": "v"}, ("v", None)),
        (UserDict(image="v", label=1), ("v", 1)),
        (Named(target=1, image="v"), ("v", 1)),
        (ImageFirst("v", 1), ("v", 1)),
        (Positional("v", 1), ("v", 1)),
        (MaskFirst("m", "v"), ("v", None)),
        (Sample(7, "v", 1), ("v", 1)),
        (Bare("v", 0.5), ("v", None)),
        ("v", ("v", None)),
    ],
)
def test_split_knows_the_usual_items(item: Any, expected: tuple[Any, Any]) -> None:
    assert split(item) == Item(*expected)


def test_split_takes_a_lone_image_as_the_value() -> None:
    for value in (torch.zeros(3, 4, 4), np.zeros((4, 4, 3)), Image.new("L", (2, 2))):
        assert split(value).value is value
        assert split(value).label is None


def test_split_says_which_keys_came() -> None:
    with pytest.raises(
        DataError, match=r"one of the keys 'pixel_values', .*; its keys: 'photo', 'label'\. Rename the key"
    ):
        split({"photo": 1, "label": 2})
    with pytest.raises(DataError, match="got an empty tuple"):
        split(())


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (None, None),
        (3, 3),
        (True, 1),
        (2.0, 2),
        ("cat", "cat"),
        (b"cat", "cat"),
        (Path("a/b"), "a/b"),
        (Decimal("2.50"), 2.5),
        (Decimal(7), 7),
        (Animal.cat, "cat"),
        (2**70, 2**70),
        (np.str_("cat"), "cat"),
        (np.int8(3), 3),
        (np.float32(3), 3),
        (np.bool_(True), 1),
        (np.array([[4]]), 4),
        (np.array("cat"), "cat"),
        (torch.tensor(5), 5),
        (torch.tensor([5], dtype=torch.uint8), 5),
        (0.5, 0.5),
        (torch.tensor(0.25), 0.25),
        (torch.tensor([0.0, 1.0, 1.0]), (0, 1, 1)),
        (np.array([True, False]), (1, 0)),
        ([0, 1, 0], (0, 1, 0)),
    ],
)
def test_item_label_gives_plain_values(label: Any, expected: ItemLabel | None) -> None:
    found = item_label(label)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("label", "came"),
    [
        (float("inf"), r"inf \(float\)"),
        (torch.ones(4) / 2, r"a Tensor of shape \(4,\)"),
        (torch.zeros(4, 4), r"a Tensor of shape \(4, 4\)"),
        (np.zeros((0,)), r"a ndarray of shape \(0,\)"),
        ({"boxes": 1}, "a dict with the keys 'boxes'"),
        ([1, 2], "a list of 2"),
        (b"\xff\xfe", "bytes"),
        (object(), "object"),
    ],
)
def test_item_label_refuses_what_is_no_label(label: Any, came: str) -> None:
    with pytest.raises(DataError, match=came):
        item_label(label)


@pytest.mark.parametrize(
    ("value", "mode", "size"),
    [
        (np.zeros((4, 6), np.uint8), "L", (6, 4)),
        (np.zeros((4, 6, 1), np.uint8), "L", (6, 4)),
        (np.zeros((4, 6, 3), np.float32), "RGB", (6, 4)),
        (np.zeros((3, 4, 6), np.float64), "RGB", (6, 4)),
        (np.zeros((4, 6, 4), np.uint16), "RGBA", (6, 4)),
        (np.ones((3, 5, 3), np.uint8), "RGB", (5, 3)),  # an array is more often channels last, (H, W, C)
        (torch.zeros(3, 5, 3), "RGB", (3, 5)),  # a tensor channels first, (C, H, W)
        (torch.zeros(4, 6, dtype=torch.bfloat16), "L", (6, 4)),
        (torch.zeros(1, 4, 6, requires_grad=True), "L", (6, 4)),
        (torch.zeros(4, 6, dtype=torch.bool), "L", (6, 4)),
    ],
)
def test_image_of_arrays_and_tensors(value: Any, mode: str, size: tuple[int, int]) -> None:
    image = to_image(value)
    assert image is not None
    assert (image.mode, image.size) == (mode, size)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        3,
        torch.zeros(7),
        torch.zeros(2, 3, 4, 4),
        np.zeros((5, 4, 6)),
        np.zeros((0, 3)),
        np.array([["a"]]),
    ],
)
def test_image_is_none_where_there_is_nothing_to_see(value: Any) -> None:
    assert to_image(value) is None


def test_image_returns_an_image_as_it_is() -> None:
    image = Image.new("CMYK", (2, 2))
    assert to_image(image) is image


def shown(value: Any) -> list[int]:
    image = to_image(value)
    assert image is not None
    return [int(level) for level in np.asarray(image).ravel()]


def test_image_keeps_known_ranges_and_stretches_others() -> None:
    assert shown(np.array([[0, 7, 255]], np.uint8)) == [0, 7, 255]
    assert shown(np.array([[0, 7, 200]], np.int64)) == [0, 7, 200]
    assert shown(torch.tensor([[0.0, 0.2, 0.5]])) == [0, 51, 128]
    assert shown(np.array([[False, True]])) == [0, 255]
    assert shown(torch.tensor([[-2.0, 0.0, 2.0]])) == [0, 128, 255]
    assert shown(np.array([[1000, 2000, 3000]], np.uint16)) == [0, 128, 255]
    assert shown(np.array([[-1.0, np.nan, np.inf, 1.0]])) == [0, 0, 255, 255]
    assert shown(np.full((1, 2), np.nan)) == [0, 0]
    assert shown(np.full((1, 2), -7.0)) == [0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_to_rgb_takes_every_mode(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    result = to_rgb(image)
    assert (result.mode, result.size) == ("RGB", (5, 4))
    assert image.mode == mode


def pixel(image: Image.Image) -> tuple[int, ...]:
    found = to_rgb(image).getpixel((0, 0))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize(
    ("mode", "clear"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0)), ("RGBa", (0, 0, 0, 0)), ("La", (0, 0))]
)
def test_to_rgb_lays_transparency_on_white(mode: str, clear: tuple[int, ...]) -> None:
    assert pixel(Image.new(mode, (1, 1), clear)) == (255, 255, 255)


def test_to_rgb_mixes_half_transparency_and_keeps_opaque_colour() -> None:
    assert pixel(Image.new("RGBA", (1, 1), (0, 0, 0, 128))) == (127, 127, 127)
    assert pixel(Image.new("RGBA", (1, 1), (9, 8, 7, 255))) == (9, 8, 7)


def test_to_rgb_knows_a_transparent_palette_entry() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert pixel(image) == (10, 20, 30)
    image.info["transparency"] = 0
    assert pixel(image) == (255, 255, 255)
    assert to_rgb(image).getpixel((1, 0)) == (40, 50, 60)


def test_to_rgb_scales_deep_images_and_does_not_clip() -> None:
    deep = np.array([[0, 16384, 65535]])
    for dtype in (np.uint16, np.dtype(">u2"), np.int32, np.float32):
        result = np.asarray(to_rgb(Image.fromarray(deep.astype(dtype))))[0, :, 0]
        assert result.tolist() == [0, 64, 255]
    assert pixel(Image.fromarray(np.full((1, 1), 0.5, np.float32))) == (128, 128, 128)
    assert pixel(Image.fromarray(np.full((1, 1), 77, np.uint16))) == (77, 77, 77)


def test_to_rgb_inverts_a_conversion_to_lab() -> None:
    image = Image.new("RGB", (1, 1), (200, 100, 50))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert lab is not None
    assert np.abs(np.subtract(pixel(lab), (200, 100, 50))).max() <= 3


def test_to_rgb_has_the_colours_of_cmyk_and_bilevel() -> None:
    assert pixel(Image.new("CMYK", (1, 1), (0, 255, 255, 0))) == (255, 0, 0)
    assert pixel(Image.new("1", (1, 1), 1)) == (255, 255, 255)


def test_as_array_shares_arrays_and_ignores_the_rest() -> None:
    array = np.zeros(3)
    assert as_array(array) is array
    assert as_array("text") is None


VALUES: list[Any] = [
    Image.new("L", (2, 3)),
    Image.new("L", (3, 2)),
    Image.new("P", (2, 3)),
    np.zeros((2, 3), np.uint8),
    np.zeros((3, 2), np.uint8),
    np.zeros(6, np.int8),
    np.zeros(0),
    np.array(["a", None], object),
    np.float32(0),
    torch.zeros(6, dtype=torch.uint8),
    torch.zeros((), dtype=torch.bfloat16),
    "text",
    b"text",
    Path("file.png"),
    None,
    0,
    0.0,
    False,
    [],
    [[], []],
    [1, 2],
    {"a": 1},
    {"a": 2},
    {1, 2},
    Sample(1, "v", 2),
    Sample(1, "v", 3),
]


def test_digest_tells_different_values_apart() -> None:
    found = [digest(value) for value in VALUES]
    assert len(set(found)) == len(VALUES)
    assert all(len(text) == 32 and int(text, 16) >= 0 for text in found)


def test_digest_is_of_the_content() -> None:
    array = np.arange(12).reshape(3, 4)
    assert digest(array.T) == digest(np.ascontiguousarray(array.T))
    assert digest(torch.from_numpy(array).T) == digest(torch.from_numpy(array.T.copy()))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest((1, [2])) == digest([1, (2,)])
    assert digest(Image.fromarray(np.eye(3, dtype=np.uint8))) == digest(Image.fromarray(np.eye(3, dtype=np.uint8)))


def test_digest_sees_the_palette() -> None:
    first, second = Image.new("P", (1, 1)), Image.new("P", (1, 1))
    first.putpalette([1, 2, 3])
    second.putpalette([3, 2, 1])
    assert digest(first) != digest(second)


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(nested, nested)
def test_digest_is_equal_exactly_where_values_are(first: Any, second: Any) -> None:
    assert digest(first) == digest(first)
    assert (digest(first) == digest(second)) == (repr(sorted_keys(first)) == repr(sorted_keys(second)))


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(entry) for entry in value] if isinstance(value, list) else value


def test_digest_says_what_it_cannot_fingerprint() -> None:
    with pytest.raises(DataError, match="got a object"):
        digest([object()])
