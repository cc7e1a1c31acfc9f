"""`selfclean-hooks pretrain`: an encoder trained on a source, as a file that `--backbone` takes."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.errors import BackboneError, SettingError, SourceError
from selfclean_hooks.utils.files import check_writable

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
FEW_IMAGES = 32


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
    from selfclean_hooks.sources.columns import ColumnNames
    from selfclean_hooks.sources.source import open_source
    from selfclean_hooks.utils.text import bar

    check_writable(output.parent)
    _check_replaceable(output, log)
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
        from lightning.pytorch.loggers import CSVLogger

        settings["logger"] = CSVLogger(log, name="", version="")
    return settings
