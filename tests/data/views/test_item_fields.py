"""Which field of an item is the value and which the label: found, given, or refused with the names that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from selfclean_hooks import AuditedDataset, audit, audit_splits
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.errors import DataError, SettingError

N = 12
ROWS = np.random.default_rng(0).random((N, 3, 6, 6), dtype=np.float32)
LABELS = np.arange(N) % 3


def flat(batch: Any) -> Any:
    return batch.reshape(len(batch), -1).float()


class Made:
    """Items of any make."""

    def __init__(self, make: Callable[[int], Any], n: int = N) -> None:
        self.make, self.n = make, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.n:
            raise IndexError(index)
        return self.make(index)


def image(index: int) -> torch.Tensor:
    return torch.from_numpy(ROWS[index])


def check(make: Callable[[int], Any], labels: Any = LABELS, **settings: Any) -> Any:
    found = embed(Made(make), flat, progress=False, batch_size=5, **settings)
    assert found.errors == {}
    assert np.array_equal(found.vectors, ROWS.reshape(N, -1))
    if labels is None or found.labels is None:
        assert (labels, found.labels) == (None, None)
    else:
        assert found.labels.tolist() == list(labels)
    return found


class Named(NamedTuple):
    photo: Any
    grade: int
    place: int


@dataclass
class Record:
    place: int
    photo: Any
    grade: int


GIVEN: dict[str, tuple[Callable[[int], Any], dict[str, Any]]] = {
    "tuple": (lambda i: ("a name", int(LABELS[i]), image(i)), {"input_key": 2, "label_key": 1}),
    "from the end": (lambda i: ["a name", int(LABELS[i]), image(i)], {"input_key": -1, "label_key": -2}),
    "the next is the label": (lambda i: ("a name", image(i), int(LABELS[i]), 7), {"input_key": 1}),
    "dict": (lambda i: {"photo": image(i), "grade": int(LABELS[i])}, {"input_key": "photo", "label_key": "grade"}),
    "dict, the label alone": (lambda i: {"image": image(i), "grade": int(LABELS[i])}, {"label_key": "grade"}),
    "another label": (
        lambda i: {"image": image(i), "label": 0, "fine": int(LABELS[i])},
        {"label_key": "fine"},
    ),
    "named tuple": (lambda i: Named(image(i), int(LABELS[i]), i), {"input_key": "photo", "label_key": "grade"}),
    "dataclass": (lambda i: Record(i, image(i), int(LABELS[i])), {"input_key": "photo", "label_key": "grade"}),
    "dict by position": (lambda i: {"a": 0, "b": image(i), "c": int(LABELS[i])}, {"input_key": 1, "label_key": 2}),
}


@pytest.mark.parametrize(("kind", "workers"), [*((kind, 0) for kind in GIVEN), ("tuple", 1), ("dataclass", 1)])
def test_by_name_or_position(kind: str, workers: int) -> None:
    make, keys = GIVEN[kind]
    check(make, num_workers=workers, **keys)


FOUND: dict[str, Callable[[int], Any]] = {
    "index first": lambda i: (i, image(i), int(LABELS[i])),
    "index of torch first": lambda i: [torch.tensor(i), image(i), int(LABELS[i]), "more"],
    "one label of another name": lambda i: {"image": image(i), "fine_label": int(LABELS[i]), "path": "a.png"},
    "one image of another name": lambda i: {"photo": image(i), "class": int(LABELS[i])},
    "probabilities": lambda i: (image(i), torch.tensor([0.1, 0.1, 0.1]) + 0.7 * torch.eye(3)[LABELS[i]]),
    "probabilities in a list": lambda i: (image(i), [0.9 if c == LABELS[i] else 0.05 for c in range(3)]),
}


@pytest.mark.parametrize("kind", FOUND)
def test_found(kind: str) -> None:
    check(FOUND[kind])


def test_index_first_is_noted() -> None:
    found = check(FOUND["index first"])
    assert any("items begin with their position" in note for note in found.notes)


def test_of_a_subset_the_index_is_that_of_the_whole() -> None:
    whole: Any = Made(FOUND["index first"])
    part: Any = Subset(whole, [7, 2, 9, 4, 11])
    found = embed(part, flat, progress=False)
    assert np.array_equal(found.vectors, ROWS[[7, 2, 9, 4, 11]].reshape(5, -1))
    assert found.labels is not None
    assert found.labels.tolist() == LABELS[[7, 2, 9, 4, 11]].tolist()


def test_numbers_that_are_no_index_stay_the_value() -> None:
    found = embed(Made(lambda i: (i + 1, image(i))), lambda batch: batch[:, None].float(), progress=False)
    assert found.vectors[:, 0].tolist() == list(range(1, N + 1))


def test_sounds_with_their_rate() -> None:
    waves = np.random.default_rng(1).random((N, 1, 400), dtype=np.float32)
    words = ["yes", "no", "stop"]
    data = Made(lambda i: (torch.from_numpy(waves[i]), 16000, words[LABELS[i]], "speaker"))
    found = embed(data, flat, progress=False)
    assert np.array_equal(found.vectors, waves.reshape(N, -1))
    assert (found.class_names, found.labels is not None) == (("no", "stop", "yes"), True)


def test_several_labels_are_named() -> None:
    make = lambda i: {"image": image(i), "coarse_label": 0, "fine_label": int(LABELS[i])}  # noqa: E731
    found = check(make, None)
    assert "any of the fields 'coarse_label', 'fine_label' may be the label: name it" in found.why_no_labels
    check(make, label_key="fine_label")


def test_a_dict_without_an_image_names_its_keys() -> None:
    with pytest.raises(DataError, match=r"its keys: 'a', 'b'\. Rename the key, or name it with input_key="):
        embed(Made(lambda i: {"a": 1, "b": "word"}), flat, progress=False)


@pytest.mark.parametrize("option", ["input_key", "label_key"])
def test_a_field_that_is_not_there(option: str) -> None:
    settings: dict[str, Any] = {option: "colour"}
    with pytest.raises(DataError, match=rf"{option}='colour' is no field of an item; there are 'image', 'label'"):
        embed(Made(lambda i: {"image": image(i), "label": 1}), flat, progress=False, **settings)


def test_a_label_to_ignore() -> None:
    given = LABELS.copy()
    given[[1, 6]] = 255
    data = Made(lambda i: (image(i), int(given[i])))
    kept = audit(data, flat, progress=False, ignore_label=255)
    assert kept.scores.given_label is None or set(kept.scores.given_label.tolist()) <= {-1, 0, 1, 2}
    assert 255 in audit(data, flat, progress=False).scores.given_label


def test_every_door_takes_them() -> None:
    data = Made(GIVEN["dict"][0])
    keys: Any = GIVEN["dict"][1]
    one = audit(data, flat, progress=False, **keys)
    both = audit_splits({"train": data, "val": data}, flat, progress=False, **keys)
    wrapped = AuditedDataset(data, backbone=flat, progress=False, **keys)
    for found in (one, both.audits["train"], wrapped.audit):
        assert found.scores.given_label.tolist() == LABELS.tolist()


@pytest.mark.parametrize("value", [True, 1.5, ["image"]])
def test_keys_are_names_or_positions(value: Any) -> None:
    with pytest.raises(SettingError, match="label_key must be the name or position of a field of an item, or None"):
        audit(Made(lambda i: image(i)), flat, label_key=value)


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


@pytest.mark.parametrize("label", [Odd(), torch.zeros(2, device="meta")])
def test_labels_whose_own_code_raises_are_none(label: Any) -> None:
    found = check(lambda i: (image(i), label), None)
    assert "that raises" in found.why_no_labels
