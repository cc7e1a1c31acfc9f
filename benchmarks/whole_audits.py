"""Images per second of whole audits, imports and report included, beside other tools on the same folder.

    python benchmarks/whole_audits.py --quick
    python benchmarks/whole_audits.py --peers cleanvision=PYTHON imagededup=PYTHON fastdup=PYTHON \
        --output benchmarks/results/whole_audits.csv

1,000 pieces of scikit-learn's photographs, 224 px, as JPEG files in two class folders, or --images DIR. Each row is a
fresh process on one thread; rows take turns, and of several the one of least CPU time is kept. PYTHON: that of an
environment that has the tool. Tools look for different things: `finds` says for what.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from _meter import ONE_THREAD, measure
from engine import machine
from PIL import Image
from throughput import pieces


class Tool(NamedTuple):
    """Something that is run on a folder."""

    name: str
    finds: str
    code: str  # run with the folder and an empty one as arguments
    peer: str = ""  # the environment that has it; "": this one


ALL = "near duplicates, off topic, label errors"
OURS = """
import sys, torch
from selfclean_hooks.cli.main import main
torch.set_num_threads(1)
main(["audit", sys.argv[1], "-o", sys.argv[2] + "/audit", "--no-progress", "-q", *{options}])
"""
PIXELS = "def features(x): return torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1)"
PLAIN = f"""
import sys, torch, types
{PIXELS}
sys.modules["pixels"] = types.SimpleNamespace(features=features)
""" + OURS.format(options='["--backbone", "pixels:features"]')
TIMM = """
import sys, timm, torch, types
torch.manual_seed(0)
model = timm.create_model("efficientnet_lite0", num_classes=0).eval()
def features(x): return model(torch.nn.functional.interpolate(x, (128, 128), mode="bilinear"))
sys.modules["network"] = types.SimpleNamespace(features=features)
""" + OURS.format(options='["--backbone", "network:features"]')
TOOLS = (
    Tool("selfclean-hooks, mean pixels", ALL, PLAIN),
    Tool("selfclean-hooks, self-supervised", ALL, OURS.format(options='["--backbone", "self-supervised"]')),
    Tool("selfclean-hooks, EfficientNet-Lite0", ALL, TIMM),
    Tool(
        "cleanvision",
        "near duplicates by hashes, image quality",
        "import sys\nfrom cleanvision import Imagelab\nImagelab(data_path=sys.argv[1]).find_issues(n_jobs=1)",
        "cleanvision",
    ),
    Tool(
        "imagededup PHash",
        "near duplicates by hashes",
        "import sys\nfrom imagededup.methods import PHash\n"
        "PHash(verbose=False).find_duplicates(image_dir=sys.argv[1], recursive=True, num_enc_workers=0, "
        "num_dist_workers=0)",
        "imagededup",
    ),
    Tool(
        "fastdup",
        "near duplicates, outliers",
        "import os, sys\nos.environ |= {'SENTRY_OPT_OUT': '1', 'FASTDUP_PRODUCTION': '1'}\nimport fastdup\n"
        "fastdup.create(work_dir=sys.argv[2] + '/work', input_dir=sys.argv[1]).run(num_threads=1)",
        "fastdup",
    ),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Images per second of whole audits.")
    parser.add_argument("--images", type=Path, help="folder of images instead of the photographs")
    parser.add_argument("--samples", type=int, default=1_000, help="pieces of photographs")
    parser.add_argument("--peers", nargs="+", default=[], metavar="TOOL=PYTHON", help="environments of other tools")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="60 images, mean pixels only: does it run?")
    options = parser.parse_args(argv)
    pythons = {"": sys.executable, **dict(peer.split("=", 1) for peer in options.peers)}
    tools = [tool for tool in TOOLS if tool.peer in pythons][: 1 if options.quick else None]
    with tempfile.TemporaryDirectory() as folder:
        images = options.images or put(60 if options.quick else options.samples, Path(folder))
        count = sum(file.is_file() for file in images.rglob("*"))
        turns = [
            [measure(lambda tool=tool: run(tool, pythons[tool.peer], images)) for tool in tools]  # type: ignore[misc]
            for _ in range(1 if options.quick else options.repeat)
        ]
    rows = []
    for tool, costs in zip(tools, zip(*turns, strict=True), strict=True):
        cost = min(costs, key=lambda cost: cost["cpu_s"])
        row = {"tool": tool.name, "finds": tool.finds, "images": count}
        row |= {"cpu_s": round(cost["cpu_s"], 1), "wall_s": round(cost["wall_s"], 1)}
        rows.append(row | {"images_per_cpu_s": round(count / cost["cpu_s"], 1), "machine": machine()})
        print(*rows[-1].values(), sep="  ", flush=True)
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def put(samples: int, folder: Path) -> Path:
    """JPEG files in two class folders."""
    for index, image in enumerate(pieces(samples)):
        path = folder / str(index % 2) / f"{index:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path, quality=90)
    return folder


def run(tool: Tool, python: str, images: Path) -> None:
    """Once, in a process and with a folder of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [python, "-c", tool.code, str(images), scratch],
            env={**os.environ, **ONE_THREAD},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{tool.name} failed:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
