"""Items and labels of any type, and arguments of the command line."""

import datetime
import decimal
import enum
import fractions
import math
import pathlib
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from tests.fuzz.mutations import NUMBERS, TEXTS


class Colour(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    image: Any
    label: Any


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __len__(self) -> int:
        raise RuntimeError("no length")


def pixels(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


LABELS: tuple[Callable[[], Any], ...] = (
    *((lambda text=text: text) for text in TEXTS),
    *((lambda number=number: number) for number in NUMBERS),
    lambda: None,
    lambda: b"cat",
    lambda: decimal.Decimal("1.5"),
    lambda: decimal.Decimal("NaN"),
    lambda: fractions.Fraction(1, 3),
    lambda: Colour.RED,
    lambda: datetime.date(2026, 1, 1),
    lambda: pathlib.Path("cat"),
    lambda: [],
    lambda: (0, 1, 1),
    lambda: [0, 2],
    lambda: {"a": 1},
    lambda: {1, 2},
    lambda: frozenset(),
    lambda: 1j,
    lambda: object(),
    Hostile,
    lambda: Hostile,
    lambda: range(3),
    lambda: (each for each in (1, 2)),
    lambda: np.array(2),
    lambda: np.array([1]),
    lambda: np.array([], np.int64),
    lambda: np.array([0, 1, np.nan]),
    lambda: np.array(["a"]),
    lambda: np.array([None]),
    lambda: np.datetime64("2026-01-01"),
    lambda: np.str_("dog"),
    lambda: np.float16(np.inf),
    lambda: torch.tensor(1),
    lambda: torch.tensor([0.2, 0.8]),
    lambda: torch.tensor([[1, 0], [0, 1]]),
    lambda: torch.tensor(1 + 2j),
    lambda: torch.tensor([1.0]).to_sparse(),
    lambda: torch.empty(3, device="meta"),
    lambda: torch.tensor(1.0, requires_grad=True),
    lambda: torch.zeros(0),
)
VALUES: tuple[Callable[[], Any], ...] = (
    *(
        lambda mode=mode: Image.new(mode, (9, 7))
        for mode in ("1", "L", "P", "RGBA", "CMYK", "I", "F", "I;16", "LA", "HSV")
    ),
    lambda: Image.new("RGB", (1, 1)),
    lambda: Image.new("L", (3000, 1)),
    lambda: pixels(8, 8),
    lambda: pixels(8, 8, 3),
    lambda: pixels(3, 8, 8),
    lambda: pixels(8, 8, 7),
    lambda: pixels(8, 8, 0),
    lambda: pixels(0, 8, 3),
    lambda: pixels(8),
    lambda: np.zeros(()),
    lambda: np.full((8, 8), np.nan),
    lambda: np.full((8, 8), np.inf, np.float32),
    lambda: np.zeros((8, 8), bool),
    lambda: np.zeros((8, 8, 3), complex),
    lambda: np.zeros((8, 8), object),
    lambda: np.array("text"),
    lambda: np.zeros((8, 8), "M8[s]"),
    lambda: np.full((8, 8), -(2**63)),
    lambda: torch.rand(3, 8, 8),
    lambda: torch.rand(3, 8, 8, requires_grad=True),
    lambda: torch.rand(3, 8, 8).half(),
    lambda: torch.rand(8, 8).to_sparse(),
    lambda: torch.rand(3, 8, 8, device="meta"),
    lambda: torch.quantize_per_tensor(torch.rand(3, 8, 8), 0.1, 0, torch.quint8),
    lambda: torch.rand(3, 8, 8, dtype=torch.complex64),
    lambda: torch.zeros(0, 8, 8),
    lambda: torch.full((3, 8, 8), math.nan),
    lambda: {"image": pixels(8, 8, 3)},
    lambda: {"image": None},
    lambda: {"label": 1},
    lambda: {"image": {"bytes": b"no image", "path": None}},
    lambda: {3: 4},
    lambda: Pair(pixels(8, 8, 3), 1),
    lambda: [pixels(8, 8, 3), pixels(8, 8, 3)],
    lambda: [],
    lambda: [[[[]]]],
    lambda: "a text",
    lambda: b"\x89PNG",
    lambda: 3,
    lambda: math.nan,
    lambda: None,
    lambda: object(),
    Hostile,
    lambda: Hostile,
    lambda: (each for each in (1, 2)),
    lambda: pathlib.Path("/nowhere.png"),
)
RAISED = (
    ValueError("\x1b[2J"),
    KeyError(3),
    RuntimeError(),
    OSError(5, "Input/output error"),
    StopIteration(),
    MemoryError(),
)


class AnySamples:
    """A data set most of whose items are images, and some anything."""

    def __init__(self, rng: Random) -> None:
        self.seed, self.n = rng.random(), rng.choice((1, 2, 8, 8, 8, 12))
        self.strange_values = rng.choice((0.0, 0.1, 0.3, 1.0))
        self.strange_labels = rng.choice((0.0, 0.1, 0.3, 1.0))
        self.raising = rng.choice((0.0, 0.0, 0.2))
        self.form = rng.choice(("pair", "pair", "dict", "alone", "triple"))
        self.one_value, self.one_label = rng.choice(VALUES), rng.choice(LABELS)
        self.is_same = rng.random() < 0.5

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        rng = Random(f"{self.seed} {index}")
        if rng.random() < self.raising:
            raise rng.choice(RAISED)
        value: Any = Image.fromarray(pixels(8, 8, 3, seed=index))
        if rng.random() < self.strange_values:
            value = (self.one_value if self.is_same else rng.choice(VALUES))()
        label: Any = index % 2
        if rng.random() < self.strange_labels:
            label = (self.one_label if self.is_same else rng.choice(LABELS))()
        forms = {"pair": (value, label), "dict": {"image": value, "label": label}, "triple": (value, label, index)}
        return forms.get(self.form, value)


BIG = "9" * 30
AMOUNTS = ("0.1", "10%", "count:3", "count:-1", "nan", "1e999", "val=0.1", "=", "-0.0", "", f"count:{BIG}", "\x1b[2J")
LIMITED = ("near-duplicates", "off-topic", "label-errors", "leakage", "unreadable", "total")
LEVELS = ("0.1", "none", "fdr:2", "fdr:", "top:5%", "top:-1%", "nan", "1e999", "", "\x9b")
OPTIONS: dict[str, tuple[str, ...]] = {
    **{f"--max-{issue}": AMOUNTS for issue in LIMITED},
    "--threshold": (*(f"{issue}={level}" for issue in ("off-topic", "label_errors") for level in LEVELS), "x=1", "="),
    "--keep": ("first", "largest_image", "last", ""),
    "--allow-not-run": ("leakage", "nothing", ""),
    "--baseline": ("baseline.jsonl", "nowhere.jsonl", "saved", "/dev/null", "x.npz", "\x00", ""),
    "--decisions": ("decisions.json", "nowhere", "saved", "/dev/null", "x.npz", ""),
    "--format": ("table", "json", "junit", "sarif", "markdown", "xml", ""),
}
LONG = ("x" * 5000, f"resnet18:{'x' * 5000}", "resnet18:~nobody-there/x.pt", "resnet18:\x00", "\ud800.pt")
BACKBONES = ("auto:x", "nowhere.pt", "resnet1", "a:b", "os:sep", "backbone:", "\x1b", "x.npz", "saved", "", *LONG)
OF_AUDIT: dict[str, tuple[str, ...]] = {
    "--backbone": BACKBONES,
    "--method": ("default", "selfclean", "paper"),
    "--cache-dir": ("out-cache", "x.npz", "\x00"),
    "--workers": ("0", "-1", "x", BIG),
    "--precision": ("32", "8"),
    "--max-items": ("1", "0", BIG),
}
SOURCES = ("x.npz", "saved", "nowhere", "", ".", "train=x.npz", "val=x.npz", "train=", "a:b", "os:path", "x" * 5000)
STRANGE = ("\x1b[2J", "\ud800", "\x00")


def arguments(rng: Random) -> list[str]:
    """Of `audit`, `gate` or `report`."""
    command = rng.choice(("audit", "audit", "gate", "gate", "report", "\x1b[2J", ""))
    argv = [command]
    options = OPTIONS if command == "gate" else {**OPTIONS, **OF_AUDIT}
    if command == "report":
        options = {"--decisions": OPTIONS["--decisions"]}
    argv += [
        rng.choice((*SOURCES, *STRANGE) if rng.random() < 0.3 else ("saved" if command != "audit" else "x.npz",))
        for _ in range(rng.choice((0, *(1,) * 8, 2, 3)))
    ]
    for name in rng.sample(sorted(options), min(len(options), rng.choice((0, 1, 2, 4)))):
        argv += [name, rng.choice(options[name])] if rng.random() < 0.95 else [name]
    if command == "audit":
        argv += ["-o", rng.choice(("out", "out/deep/er", "out")), "--no-progress"]
    return argv
