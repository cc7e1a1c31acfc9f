"""What a second run costs where `cache_dir` keeps the embeddings of the first.

    python benchmarks/incremental.py --quick
    python benchmarks/incremental.py --output benchmarks/results/incremental.csv

Images of Fashion-MNIST as PNG files in a folder a class are embedded; 100 more are added, and all are embedded again,
by a fresh process. Timed is `embed` with all that it calls, and the making of the model, without imports. The encoder
is timm's EfficientNet-Lite0 at 128 px as `backbone="auto"` uses it, of random weights: they cost what trained ones do.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _meter import ONE_THREAD, measure
from engine import machine

COLUMNS = ["run", "images", "new", "cpu_s", "wall_s", "share_of_first", "machine"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A first and a second run of the embedding.")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--new", type=int, default=100, help="images added before the second run")
    parser.add_argument("--data", type=Path, help="folder of the four IDX files")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="300 images and 3 more: does it run?")
    parser.add_argument("--work", nargs=3, metavar=("TASK", "IMAGES", "CACHE"), help="one run (used by the benchmark)")
    options = parser.parse_args(argv)
    if options.work:
        print(json.dumps(WORK[options.work[0]](*options.work[1:])))
        return
    samples, new = (300, 3) if options.quick else (options.samples, options.new)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(runs(samples, new, options.data, Path(folder)))
    for row in rows:
        cost = f"{row['cpu_s']:8.2f} CPU s {row['wall_s']:8.2f} s"
        print(f"{row['run']:20} {cost} {row['share_of_first']:7.2%} of the first")
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def runs(samples: int, new: int, data: Path | None, folder: Path) -> Any:
    """A row for each run, each in a process of its own."""
    from _fashion import FOLDER, fashion_mnist

    images, labels = fashion_mnist("train", data or FOLDER)
    put(images[:samples], labels[:samples], folder / "images", 0)
    first = None
    for run in ("first", "second", "third, nothing new", "reading alone"):
        if run == "second":
            put(images[samples : samples + new], labels[samples : samples + new], folder / "images", samples)
        task = "read" if run == "reading alone" else "embed"
        command = [sys.executable, __file__, "--work", task, str(folder / "images"), str(folder / "kept")]
        done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
        cost = json.loads(done.stdout)
        first = first or cost["cpu_s"]
        count = samples + (0 if run == "first" else new)
        yield {
            "run": run,
            "images": count,
            "new": {"first": count, "second": new}.get(run, 0),
            "cpu_s": cost["cpu_s"],
            "wall_s": cost["wall_s"],
            "share_of_first": cost["cpu_s"] / first,
            "machine": machine(),
        }


def put(images: Any, labels: Any, folder: Path, start: int) -> None:
    """PNG files in class folders."""
    from PIL import Image

    for at, (image, label) in enumerate(zip(images, labels, strict=True), start):
        path = folder / str(label) / f"{at:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def embed(images: str, cache: str) -> dict[str, float]:
    """One run of the embedding."""
    import timm  # noqa: F401  # imports are not what is compared
    from torchvision.datasets import ImageFolder

    import selfclean_hooks.embedding.embed
    import selfclean_hooks.embedding.pretrain.run

    def work() -> None:
        selfclean_hooks.embedding.embed.embed(ImageFolder(images), encoder(), cache_dir=cache, progress=False)

    return measure(work)


def encoder() -> Any:
    """As `backbone="auto"` makes it of a checkpoint."""
    import timm
    import torch

    from selfclean_hooks.data.images import shrink
    from selfclean_hooks.embedding.encoders.encoder import Encoder, weights_fingerprint
    from selfclean_hooks.embedding.encoders.features import penultimate

    torch.manual_seed(0)
    model = timm.create_model("efficientnet_lite0", num_classes=0).eval()
    return Encoder(
        "efficientnet_lite0 at 128 px",
        lambda batch: penultimate(model, batch.float() / 127.5 - 1),
        torch.device("cpu"),
        weights_fingerprint(model),
        partial(shrink, size=128),
        model,
    )


def read(images: str, _cache: str) -> dict[str, float]:
    """What every run has to do: open each image and see what it is."""
    from torchvision.datasets import ImageFolder

    from selfclean_hooks.data.digests import digest

    def work() -> None:
        for image, _ in ImageFolder(images):
            digest(image)

    return measure(work)


WORK = {"embed": embed, "read": read}

if __name__ == "__main__":
    main()
