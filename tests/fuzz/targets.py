"""What is read from outside: files that a command reads, as folders to start from."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from selfclean_hooks.cli.project.init import SETTINGS
from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.networks import network_of
from selfclean_hooks.embedding.pretrain.objectives import projection_of
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.representation import MARK, Description, Representation
from tests.fuzz.mutations import ARRAYS, BYTES, JSON, LINES, TABLE, Mutation, mutate, within
from tests.fuzz.outcome import run_command
from tests.helpers.command_line import two_classes, write_npz

Build = Callable[[Path], None]
BACKBONE = """
import torch

class Net(torch.nn.Module):
    def forward(self, batch):
        return torch.nn.functional.adaptive_avg_pool2d(batch.float(), 4).flatten(1)

def embed(batch):
    return torch.stack([Net()(x[None].expand(1, 3, -1, -1))[0] for x in batch])

net = Net()
"""
TIMM = "test_resnet"


@dataclass(frozen=True)
class Target:
    """A command and the files it reads.

    Attributes:
        build: writes them into an empty folder, where the command is run.
        argv: the command.
        files: patterns of those that are changed.
        mutations: how.
        repair: makes digests fit again, so that more than their check is reached.
    """

    build: Build
    argv: tuple[str, ...]
    files: tuple[str, ...]
    mutations: tuple[Mutation, ...]
    repair: Build | None = None

    def change(self, folder: Path, rng: Random) -> None:
        """Change one file."""
        path = rng.choice(sorted(path for pattern in self.files for path in folder.glob(pattern) if path.is_file()))
        path.write_bytes(mutate(path.read_bytes(), self.mutations, rng))
        if self.repair is not None and rng.random() < 0.8:
            self.repair(folder)


def _ran(*argv: str) -> None:
    outcome = run_command(list(argv))
    assert outcome.status == 0, outcome


def vectors(folder: Path, n: int = 24) -> None:
    rows, labels = two_classes(n)
    rows[5] = rows[4]
    write_npz(folder / "x.npz", rows, labels)


def saved(folder: Path) -> None:
    vectors(folder)
    _ran("audit", "x.npz", "-o", "saved", "--no-progress", "--update-baseline", "--baseline", "baseline.jsonl")
    (folder / "x.npz").unlink()


def reviewed(folder: Path) -> None:
    saved(folder)
    marks = [
        {"issue": "off_topic", "verdict": "rejected", "index": 3, "sample": "", "digest": ""},
        {"issue": "label_errors", "verdict": "relabelled", "index": 2, "sample": "", "digest": "", "label": "1"},
    ]
    review = {
        "format": 1,
        "kind": "selfclean-hooks decisions",
        "dataset": "x.npz",
        "split": "",
        "thresholds": {"off_topic": 0.2},
        "seen": {"off_topic": 3},
        "decisions": marks,
    }
    (folder / "decisions.json").write_text(json.dumps(review))


def answered(folder: Path) -> None:
    """An export of Label Studio."""
    saved(folder)
    _ran("export", "saved", "--to", "label-studio", "-o", "tasks.json")
    answer = [{"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["confirmed"]}}]
    tasks = [{**task, "annotations": [{"result": answer}]} for task in json.loads((folder / "tasks.json").read_text())]
    (folder / "decisions.json").write_text(json.dumps(tasks[:3]))


def project(folder: Path) -> None:
    """Settings of a project beside a saved audit."""
    saved(folder)
    section = SETTINGS.replace("@source@", '"x.npz"').replace('"5%"', '"90%"')
    more = 'threshold = { off-topic = 0.1, label-errors = 0.01 }\nkeep = "first"\nrelabel = false\n'
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\n\n{section}{more}')


def splits(folder: Path) -> None:
    for name, n, seed in (("train", 20, 0), ("val", 12, 1)):
        rows, labels = two_classes(n, seed)
        write_npz(folder / f"{name}.npz", rows, labels)
    _ran("audit", "train=train.npz", "val=val.npz", "-o", "saved", "--no-progress")


def photos(folder: Path, n: int = 6, side: int = 16) -> list[str]:
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    names = []
    for i, kind in zip(range(n), ("png", "jpg", "gif", "bmp", "tiff", "webp"), strict=False):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i}.{kind}")
        names.append(f"photos/{i}.{kind}")
    (folder / "backbone.py").write_text(BACKBONE)
    return names


def images(folder: Path) -> None:
    photos(folder)


def table(folder: Path) -> None:
    names = photos(folder)
    frame = pd.DataFrame({"path": names, "label": ["cat", "dog"] * 3, "note": range(6)})
    frame.to_csv(folder / "x.csv", index=False)
    frame.to_parquet(folder / "x.parquet")


def cached(folder: Path) -> None:
    photos(folder)
    _ran(*CACHED)
    shutil.copytree(folder / "out-cache", folder / "kept")
    shutil.rmtree(folder / "out")


def state_dict(folder: Path) -> None:
    photos(folder)
    state = timm.create_model(TIMM, pretrained=False, num_classes=0).state_dict()
    torch.save({"state_dict": state, "arch": TIMM, "epoch": 3, "args": [1, {"lr": 0.1}]}, folder / "x.pt")
    torch.save({"state_dict": state}, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, folder / "x.safetensors")


def configured(folder: Path) -> None:
    state_dict(folder)
    feeding = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "input_size": [3, 32, 32]}
    config = {"architecture": TIMM, "pretrained_cfg": feeding, "model_args": {"layers": [1, 1, 1, 1]}}
    (folder / "config.json").write_text(json.dumps(config))


def encoder(folder: Path) -> None:
    photos(folder)
    network = network_of("small", "random", torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 28)
    state = Representation(network, projection_of("simclr", network.dim), Canvas(28, 3)).state_dict()
    text = Description(Canvas(28, 3), Recipe(size=28, encoder="small"), 1, 12, 0.5).to_json()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "e.safetensors", {MARK: text})


def repair_digests(folder: Path) -> None:
    """Of scores and decisions, in the manifests and the list of splits."""
    for manifest in folder.glob("saved/**/manifest.json"):
        try:
            held = json.loads(manifest.read_bytes())
            for key, name in (("scores_blake2b", "scores.npz"), ("decisions_blake2b", "decisions.json")):
                if key in held and manifest.with_name(name).is_file():
                    held[key] = _digest(manifest.with_name(name))
            manifest.write_text(json.dumps(held))
            index = manifest.parents[1] / "splits.json"
            listed = json.loads(index.read_bytes()) if index.is_file() else {"splits": []}
            for entry in listed["splits"]:
                entry["scores_blake2b"] = _digest(index.parent / entry["folder"] / "scores.npz")
            if index.is_file():
                index.write_text(json.dumps(listed))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
            return  # the document itself was changed


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def header(content: bytes, rng: Random) -> bytes:
    """Another value in the header of a safetensors file, or in the description of an encoder in it."""
    length = int.from_bytes(content[:8], "little")
    held, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    inner = held.get("__metadata__", {}).get(MARK)
    if inner is not None and rng.random() < 0.8:
        held["__metadata__"][MARK] = JSON[0](inner.encode(), rng).decode("utf-8", "replace")
        text = json.dumps(held).encode()
    else:
        text = JSON[0](json.dumps(held).encode(), rng)
    return len(text).to_bytes(8, "little") + text + data


def start(content: bytes, rng: Random) -> bytes:
    """A change in the first or the last bytes, where a file says what is in it."""
    at = rng.choice((300, 3000, len(content)))
    return mutate(content[:at], BYTES, rng) + content[at:] if rng.random() < 0.5 else (
        content[:-at] + mutate(content[-at:], BYTES, rng)
    )  # fmt: skip


AUDIT = ("audit", "--no-progress", "-o", "out")
OF_IMAGES = (*AUDIT, "--backbone", "backbone:embed")
CACHED = (*AUDIT, "photos", "--backbone", "backbone:net", "--cache-dir", "out-cache")
GATE = ("gate", "saved", "--max-total", "count:3")
DECISIONS = ("--decisions", "decisions.json")
SCORES = ("saved/scores.npz",)

TARGETS = {
    "manifest": Target(saved, GATE, ("saved/manifest.json",), JSON),
    "scores": Target(saved, GATE, SCORES, ARRAYS, repair_digests),
    "scores as json": Target(saved, (*GATE, "--format", "json"), SCORES, ARRAYS, repair_digests),
    "scores as sarif": Target(saved, (*GATE, "--format", "sarif"), SCORES, ARRAYS, repair_digests),
    "scores as markdown": Target(saved, (*GATE, "--format", "markdown"), SCORES, ARRAYS, repair_digests),
    "manifest as junit": Target(saved, (*GATE, "--format", "junit"), ("saved/manifest.json",), JSON),
    "splits": Target(splits, GATE, ("saved/splits.json", "saved/*/manifest.json"), JSON),
    "scores of splits": Target(splits, GATE, ("saved/*/scores.npz",), ARRAYS, repair_digests),
    "baseline": Target(saved, (*GATE, "--baseline", "baseline.jsonl"), ("baseline.jsonl",), LINES),
    "project": Target(project, ("gate", "saved"), ("pyproject.toml",), BYTES),
    "decisions": Target(reviewed, (*GATE, *DECISIONS), ("decisions.json",), JSON),
    "answers": Target(answered, (*GATE, *DECISIONS), ("decisions.json",), JSON),
    "arrays": Target(vectors, (*AUDIT, "x.npz"), ("x.npz",), ARRAYS),
    "images": Target(images, (*OF_IMAGES, "photos"), ("photos/*",), (*BYTES, start)),
    "csv": Target(table, (*OF_IMAGES, "x.csv"), ("x.csv",), TABLE),
    "parquet": Target(table, (*OF_IMAGES, "x.parquet"), ("x.parquet",), (*BYTES, start, start)),
    "cache": Target(cached, (*CACHED[:-1], "out-kept"), ("kept/*",), (*BYTES, start)),
    "checkpoint": Target(
        state_dict, (*AUDIT, "photos", "--backbone", f"{TIMM}:x.pt"), ("x.pt",), (*BYTES, start, *(within,) * 9)
    ),
    "old checkpoint": Target(
        state_dict, (*AUDIT, "photos", "--backbone", f"{TIMM}:old.pt"), ("old.pt",), (*BYTES, start, start, start)
    ),
    "safetensors": Target(
        state_dict,
        (*AUDIT, "photos", "--backbone", f"{TIMM}:x.safetensors"),
        ("x.safetensors",),
        (*BYTES, start, header, header),
    ),
    "config": Target(configured, (*AUDIT, "photos", "--backbone", f"{TIMM}:x.pt"), ("config.json",), JSON),
    "encoder": Target(
        encoder, (*AUDIT, "photos", "--backbone", "e.safetensors"), ("e.safetensors",), (*BYTES, *(header,) * 8)
    ),
}
