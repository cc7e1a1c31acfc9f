"""`selfclean-hooks pretrain`: an encoder trained on a source, as a file that `--backbone` takes."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfclean_hooks.cli.options.reading import Device, PathColumn, Precision, Progress
from selfclean_hooks.cli.output import interrupts_as_errors, show, without_warnings_in_notes
from selfclean_hooks.errors import BackboneError, SettingError, SourceError, needs
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.source import open_source
from selfclean_hooks.utils.files import check_writable
from selfclean_hooks.utils.text import bar

if TYPE_CHECKING:
    from selfclean_hooks.embedding.pretrain.recipe import Recipe

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
FEW_IMAGES = 32


def pretrain(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As for audit; labels are ignored.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Encoder file, for --backbone FILE.")],
    objective: Annotated[
        str, typer.Option(help="simclr, vicreg, barlow-twins, dino (augmented views) or mae (masked patches).")
    ] = "simclr",
    encoder: Annotated[
        str, typer.Option(help='"auto" (small, sized to the data), "small", "small-vit", or a timm name.')
    ] = "auto",
    start: Annotated[
        str, typer.Option(metavar="WEIGHTS", help='Starting weights: "random", "pretrained" (timm\'s) or a checkpoint.')
    ] = "random",
    size: Annotated[int | None, typer.Option(help="Image side in pixels; default: chosen from the data.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images; default: until convergence.")] = None,
    max_time: Annotated[
        str, typer.Option(metavar="TIME", help="Stop unfinished, with a warning, after this time: 90s, 10m, 1h30m.")
    ] = "6h",
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 128,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate; default: depends on the objective.")] = None,
    patience: Annotated[int, typer.Option(help="Stop after so many checks without change; 0: never.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same encoder on one machine.")] = 0,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of devices, one process each.")] = 1,
    precision: Annotated[Precision, typer.Option(help="Of training; bf16 and 16: mixed precision.")] = Precision.full,
    log: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for metrics as CSV.")] = None,
    path_column: PathColumn = None,
    progress: Progress = True,
) -> None:
    """Train an encoder on the images of SOURCE, without labels.

    Needs no network access. Run again to resume.

    Examples:

      selfclean-hooks pretrain photos/ -o encoder.safetensors

      selfclean-hooks pretrain photos/ -o encoder.safetensors --encoder resnet18 --objective vicreg --max-time 1h
    """
    from selfclean_hooks.embedding.pretrain.recipe import Recipe

    with interrupts_as_errors():
        recipe = Recipe(
            objective, encoder, start, size, epochs, batch_size, seconds_of(max_time), learning_rate, patience, seed
        )
        with without_warnings_in_notes():
            message = run(source, output, recipe, device, devices, precision.value, log, progress, path_column)
        if message:
            for line in message.splitlines():
                show(line)


def seconds_of(text: str) -> float:
    """Seconds in a text such as 600, 90s, 10m, 1h30m or 01:30:00.

    Raises:
        SettingError: the text is not a time.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if parts and "".join(map("".join, parts)) == text:
        return math.fsum(float(number) * UNITS[unit] for number, unit in parts)
    if re.fullmatch(r"\d+(\.\d+)?|\d+(:\d{1,2}){1,3}", text):
        scales = (1.0, 60.0, 3600.0, 86400.0)
        return math.fsum(float(n) * s for n, s in zip(reversed(text.split(":")), scales, strict=False))
    raise SettingError(f"--max-time must be a time as 600 (seconds), 90s, 10m, 1h30m or 01:30:00, got {text!r}")


def run(
    source: str,
    output: Path,
    recipe: Recipe,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    log: Path | None = None,
    progress: bool = True,
    path_column: str | None = None,
) -> str:
    """Train on a source, write the file, and return a description ("" in the processes of further devices).

    The state of an interrupted training is kept beside the file, with the suffix `.partial`; the same call resumes it.

    Raises:
        SourceError: the source holds no images.
        SettingError: a file would be replaced that is of something else.
        SelfCleanError: see `pretrain`.
    """
    from selfclean_hooks.data.reader import ImageDataset
    from selfclean_hooks.data.views.dataset_view import DatasetView
    from selfclean_hooks.embedding.encoders.encoder import device_of
    from selfclean_hooks.embedding.pretrain.run import pretrain, save
    from selfclean_hooks.sources.remote.local_copy import local_copy

    check_writable(output.parent)
    _check_replaceable(output, log)
    source = local_copy(source, progress)  # URLs may hold what is not to be printed
    found = open_source(source, columns=ColumnNames(path_column, None))
    if found.vectors is not None:
        raise SourceError(f"an encoder is trained on images, and {source} holds embeddings: give the images")
    partial = output.with_name(f"{output.name}.partial")
    with bar("training an encoder", progress) as tick:
        trained = pretrain(
            ImageDataset(DatasetView(found.dataset)),
            recipe,
            device=device_of(device),
            partial=partial,
            progress=tick,
            trainer=_settings(devices, precision, log),
        )
    if devices > 1 and os.environ.get("LOCAL_RANK", "0") != "0":  # Lightning runs this command once a device
        return ""
    save(trained, output)
    few = f"{trained.images} images are few to learn from" if trained.images < FEW_IMAGES else ""
    doubts = "".join(f"; {doubt}" for doubt in (few, trained.warning) if doubt)
    return (
        f"{output}: {trained.recipe.objective} of {trained.recipe.encoder} at {trained.canvas.size} px, "
        f"{trained.images} images, {trained.epochs} epochs in {trained.seconds:.0f} s{doubts}\n"
        f"use it with: selfclean-hooks audit {source} --backbone {output}"
    )


def _check_replaceable(output: Path, log: Path | None) -> None:
    """See that the files that are written replace only their own kind."""
    from selfclean_hooks.embedding.pretrain.run import load

    try:
        if os.path.lexists(output):
            load(output)
    except BackboneError as error:
        raise SettingError(
            f"--output must be a new file, or an encoder to replace: {error}. Give another name"
        ) from None
    metrics = None if log is None else log / "metrics.csv"
    if metrics is not None and metrics.is_file():
        columns = metrics.read_bytes().split(b"\n")[0].strip().split(b",")
        if not {b"epoch", b"step"} <= set(columns):
            raise SettingError(
                f"--log must be a folder whose metrics.csv may be replaced; {metrics} is of something else"
            )


def _settings(devices: int, precision: str, log: Path | None) -> dict[str, Any]:
    """Arguments for Lightning's Trainer."""
    settings: dict[str, Any] = {} if precision == "32" else {"precision": f"{precision}-mixed"}
    if devices > 1:
        settings |= {"devices": devices, "plugins": None, "strategy": "ddp"}
    if log is not None:
        with needs("lightning", "--log"):
            from lightning.pytorch.loggers import CSVLogger

        settings["logger"] = CSVLogger(log, name="", version="")
    return settings
