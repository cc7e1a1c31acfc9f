"""Poor images that were planted in folders of ordinary ones: what is found, beside cleanvision (not shipped).

    uv run --with cleanvision python benchmarks/image_quality.py [--quick] [--output FILE]

Folders of PNG files: the first 1,000 test images of Fashion-MNIST (28 px, grey), and 600 drawings and 600 stamps of
at most 1.5 megapixels, of Debian's dataset-fashion-mnist, openclipart-png and tuxpaint-stamps-default. In each, 20
images are made dark (15% of their light), 20 bright (15% of their shade), 20 are blurred (a Gaussian of 2% of their
side) and 20 are replaced by faint grey noise. `others` are images flagged where nothing was planted: some drawings are
white all over. CPU seconds include reading the files.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
from _fashion import fashion_mnist
from _meter import measure
from PIL import Image, ImageFilter

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.data.image_files import read_image
from selfclean_hooks.data.images import image_statistics, to_rgb
from selfclean_hooks.detectors.image_quality import aspect_scores

PLANTED = 20
MOST_PIXELS = 1_500_000
CLEANVISION = {
    "dark": "dark",
    "bright": "light",
    "blurry": "blurry",
    "blank": "low_information",
    "odd_size": "odd_size",
    "odd_shape": "odd_aspect_ratio",
}
Tool = Callable[[Path], dict[str, set[int]]]
COLUMNS = ("data", "n", "tool", "aspect", "planted", "found", "others", "cpu_s")


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(1.2, max(image.size) * 0.02)))


def blank(image: Image.Image) -> Image.Image:
    shape = (image.height, image.width, 3)
    return Image.fromarray(np.random.default_rng(image.width).normal(128, 2, shape).clip(0, 255).astype(np.uint8))


PLANT: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda image: image.point(lambda value: int(value * 0.15)),
    "bright": lambda image: image.point(lambda value: int(255 - (255 - value) * 0.15)),
    "blurry": blurred,
    "blank": blank,
}


def images(name: str, n: int) -> Iterator[Image.Image]:
    """The first n images of a set, in a fixed order drawn at random."""
    if name == "fashion":
        yield from map(Image.fromarray, fashion_mnist("t10k")[0][:n])
        return
    folder = {"clipart": "/usr/share/openclipart/png", "stamps": "/usr/share/tuxpaint/stamps"}[name]
    files = sorted(Path(folder).rglob("*.png"))
    random.Random(0).shuffle(files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images that are too large
        for file in files:
            try:
                image = Image.open(file)
                if image.width * image.height <= MOST_PIXELS:
                    yield to_rgb(image)
                    n -= 1
            except (OSError, Image.DecompressionBombError):
                continue
            if not n:
                return


def write(name: str, n: int, folder: Path) -> dict[str, set[int]]:
    """The images as files, some of them made poor: aspect -> numbers of these."""
    order = random.Random(1).sample(range(n), n)
    planted = {what: set(order[at * PLANTED : (at + 1) * PLANTED]) for at, what in enumerate(PLANT)}
    for number, image in enumerate(images(name, n)):
        what = next((what for what, chosen in planted.items() if number in chosen), None)
        (image if what is None else PLANT[what](image.convert("RGB"))).save(folder / f"{number:05}.png")
    return planted


def by_us(folder: Path) -> dict[str, set[int]]:
    files = sorted(folder.iterdir())
    scores = aspect_scores(
        np.stack([found for file in files if (found := image_statistics(read_image(str(file)))) is not None])
    )
    aspects = BY_NAME["image_quality"].aspects
    return {aspect: set((scores[:, at] < 0.5).nonzero()[0].tolist()) for at, aspect in enumerate(aspects)}


def by_cleanvision(folder: Path) -> dict[str, set[int]]:
    lab = import_module("cleanvision").Imagelab(data_path=str(folder), verbose=False)
    lab.find_issues({issue: {} for issue in CLEANVISION.values()}, n_jobs=1, verbose=False)
    found = lab.issues
    return {
        aspect: {int(Path(path).stem) for path in found.index[found[f"is_{issue}_issue"]]}
        for aspect, issue in CLEANVISION.items()
    }


def _keep(results: list[dict[str, set[int]]], run: Tool, folder: Path) -> None:
    results.append(run(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the images")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "image_quality.csv")
    given = parser.parse_args()
    rows = []
    for name, most in (("fashion", 1000), ("clipart", 600), ("stamps", 600)):
        n = most // 5 if given.quick else most
        with tempfile.TemporaryDirectory() as folder:
            planted = write(name, n, Path(folder))
            poor = set.union(*planted.values())
            for tool, run in (("selfclean_hooks", by_us), ("cleanvision", by_cleanvision)):
                results: list[dict[str, set[int]]] = []
                cost = measure(partial(_keep, results, run, Path(folder)))
                (found,), seconds = results, round(cost["cpu_s"], 2)
                for aspect, flagged in found.items():
                    wanted = planted.get(aspect, set())
                    row = (name, n, tool, aspect, len(wanted), len(flagged & wanted), len(flagged - poor), seconds)
                    rows.append(dict(zip(COLUMNS, row, strict=True)))
                    print(*row)
    with given.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
