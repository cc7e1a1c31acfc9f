"""Whether the state of an earlier training belongs to this one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from selfclean_hooks.embedding.weights.checkpoint_file import read
from selfclean_hooks.errors import AuditFileError, BackboneError
from selfclean_hooks.utils.arrays import fingerprint

MARK = "selfclean_hooks_training"
FORMAT = "4"  # changes with what the objectives keep in their state, and with the schedule


def fingerprint_of_training(training: Any) -> str:
    """A fingerprint of data and settings except the time limit, which may be raised for a resume."""
    settings = asdict(replace(training.recipe, max_seconds=1.0))
    return fingerprint(training.data[0].numpy(), repr(sorted(settings.items())), str(training.epochs), FORMAT)


def check_resumable(partial: str | Path | None, training: Any) -> Path | None:
    """The file to keep the state in; one that exists must be of this training.

    Raises:
        AuditFileError: it is of another one, or damaged.
    """
    if partial is None or not (path := Path(partial)).exists():
        return None if partial is None else Path(partial)
    try:
        found = read(path, ".ckpt").says.get(MARK)
    except BackboneError as error:
        raise AuditFileError(
            f"{path} is no training that was interrupted ({error}): remove it to start anew"
        ) from error
    if found != fingerprint_of_training(training):
        raise AuditFileError(
            f"{path} is an interrupted training of other data or with other settings, or of another version: give the "
            "same ones to go on, or remove it to start anew"
        )
    return path
