"""Images per second of the embedding, beside a plain loop over a DataLoader with the same model at the same size.

    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py --output benchmarks/results/throughput.csv
    python benchmarks/throughput.py --device cuda --samples 20000 --output throughput_cuda.csv

Pieces of scikit-learn's two photographs, 224 px, as PNG files in class folders and as arrays in memory, are embedded by
timm's EfficientNet-Lite0 at 128 px (random weights cost what trained ones do). The loop resizes and normalises with
torchvision's transforms and does nothing else; the embedding also catches what cannot be read, fingerprints every
image and keeps labels. Arms take turns; of several the one of least CPU time is reported. Compiling is timed apart.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from _meter import measure
from engine import machine
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.images import shrink
from selfclean_hooks.embedding.embed import embed_distributed
from selfclean_hooks.embedding.encoders.encoder import Encoder, weights_fingerprint
from selfclean_hooks.embedding.encoders.forward_pass import Forward, with_precision
from selfclean_hooks.utils.processes import Processes

MODEL, SIZE, SIDE, BATCH = "efficientnet_lite0", 128, 224, 64
COLUMNS = ["source", "arm", "workers", "images", "wall_s", "cpu_s", "images_per_s", "images_per_cpu_s", "start_s"]
AS_PEOPLE_WRITE = transforms.Compose(
    [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
)


class Arrays(Dataset[Any]):
    """(H, W, 3) uint8 in memory, with a transform as torchvision's data sets have it."""

    def __init__(self, arrays: Sequence[Any], transform: Callable[[Any], Any] | None = None) -> None:
        self.arrays, self.transform = arrays, transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.arrays[index]
        return (self.transform(Image.fromarray(image)) if self.transform else image), index % 2


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Images per second of the embedding and of a plain loop.")
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the forward pass; workers are processes beside it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="100 images, once, not compiled: does it run?")
    options = parser.parse_args(argv)
    samples, repeat = (100, 1) if options.quick else (options.samples, options.repeat)
    torch.set_num_threads(options.threads)
    images = pieces(samples)
    with tempfile.TemporaryDirectory() as folder:
        put(images, Path(folder))
        arms = list(all_arms(images, folder, torch.device(options.device), compiles=not options.quick))
        rows = measured(arms, samples, repeat)
    for row in rows:
        rates = f"{row['images_per_s']:8} images/s {row['images_per_cpu_s']:8} images/CPU s"
        print(f"{row['source']:7} {row['arm']:26} {row['workers']} workers {rates}  start {row['start_s']} s")
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, [*COLUMNS, "device", "machine"], lineterminator="\n")
            table.writeheader()
            table.writerows(row | {"device": options.device, "machine": machine()} for row in rows)


def measured(arms: Sequence[dict[str, Any]], samples: int, repeat: int) -> list[dict[str, Any]]:
    """A row an arm: its turn of least CPU time."""
    turns = [[measure(arm["work"]) for arm in arms] for _ in range(repeat)]
    rows = []
    for arm, costs in zip(arms, zip(*turns, strict=True), strict=True):
        cost = min(costs, key=lambda cost: cost["cpu_s"])
        wall, cpu = cost["wall_s"], cost["cpu_s"]
        rates = {"images_per_s": round(samples / wall, 1), "images_per_cpu_s": round(samples / cpu, 1)}
        about = {name: arm[name] for name in ("source", "arm", "workers", "start_s")}
        rows.append({**about, "images": samples, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), **rates})
    return rows


def all_arms(images: Sequence[Any], folder: str, device: torch.device, compiles: bool) -> Iterator[dict[str, Any]]:
    """What is compared; each is run on a batch first."""
    looped = {"png": ImageFolder(folder, AS_PEOPLE_WRITE), "arrays": Arrays(images, AS_PEOPLE_WRITE)}
    audited = {"png": ImageFolder(folder), "arrays": Arrays(images)}
    model, own, plain = model_on(device), encoder(model_on(device), device), encoder(model_on(device), device)
    untouched = replace(plain, features=Forward(plain.features, device.type))  # counts as tuned: laid out as it came
    variants = [
        ("embed, not channels_last", untouched, EmbeddingSettings(str(device), BATCH, progress=False)),
        ("embed, bf16", own, EmbeddingSettings(str(device), BATCH, progress=False, precision="bf16")),
    ]
    if compiles:
        both = [
            EmbeddingSettings(str(device), BATCH, progress=False, compile=True, precision=p) for p in ("32", "bf16")
        ]
        variants += [("embed, compiled", with_precision(own, both[0]), both[0])]
        variants += [("embed, bf16, compiled", with_precision(own, both[1]), both[1])]
    for source in ("png", "arrays"):
        for workers in (0, 1, 2):
            loader = DataLoader(looped[source], BATCH, num_workers=workers)
            yield started(source, "plain loop", workers, partial(loop, model, loader, device))
            reading = EmbeddingSettings(str(device), BATCH, workers, progress=False)
            yield started(source, "embed", workers, partial(embed, audited[source], own, reading))
        for name, how, reading in variants:
            yield started(source, name, 0, partial(embed, audited[source], how, reading), images[:BATCH])


def started(
    source: str, arm: str, workers: int, work: Callable[[], None], batch: Sequence[Any] | None = None
) -> dict[str, Any]:
    """An arm that is ready; `start_s`: what its first batch took, compiling included."""
    begin = time.perf_counter()
    if batch is not None:
        _, how, reading = work.args  # type: ignore[attr-defined]
        embed(Arrays(batch), how, reading)
    return {
        "source": source,
        "arm": arm,
        "workers": workers,
        "work": work,
        "start_s": round(time.perf_counter() - begin, 1),
    }


def loop(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> None:
    """As people write it."""
    features = []
    with torch.no_grad():
        for x, _ in loader:
            features.append(model(x.to(device)).cpu())
    torch.cat(features)


def embed(dataset: Any, how: Encoder, reading: EmbeddingSettings) -> None:
    """The embedding alone, without the tenth of the data that is compared with random weights."""
    embed_distributed(Processes(), dataset, how, reading, fit=False)


def model_on(device: torch.device) -> nn.Module:
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = timm.create_model(MODEL, num_classes=0).eval().to(device)
    return made


def encoder(model: nn.Module, device: torch.device) -> Encoder:
    """As `backbone="auto"` makes it of a checkpoint."""
    features = partial(normalised, model)
    return Encoder(MODEL, features, device, weights_fingerprint(model), partial(shrink, size=SIZE), model)


def normalised(model: nn.Module, batch: Tensor) -> Any:
    """Of bytes, to [-1, 1]."""
    return model(batch.float() / 127.5 - 1)


def pieces(n: int) -> list[Any]:
    """(SIDE, SIDE, 3) uint8 arrays, no two alike."""
    photographs, rng = load_sample_images().images, np.random.default_rng(0)
    found = []
    for index in range(n):
        whole = photographs[index % 2]
        top, left = (rng.integers(0, side - SIDE) for side in whole.shape[:2])
        found.append(np.ascontiguousarray(whole[top : top + SIDE, left : left + SIDE]))
    return found


def put(images: Sequence[Any], folder: Path) -> None:
    """PNG files in class folders."""
    for index, image in enumerate(images):
        path = folder / str(index % 2) / f"{index:05d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)


if __name__ == "__main__":
    main()
