"""Whether the state of an earlier training is of this one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.utils.arrays import fingerprint

MARK = "selfclean_hooks_training"


def fingerprint_of_training(training: Any) -> str:
    """A fingerprint of data and settings, but for the time there is: that may be more when it goes on."""
    settings = asdict(replace(training.recipe, max_seconds=1.0))
    return fingerprint(training.data[0].numpy(), repr(sorted(settings.items())), str(training.epochs))


def check_resumable(partial: str | Path | None, training: Any) -> Path | None:
    """The file to keep the state in; one that exists must be of this training.

    Raises:
        AuditFileError: it is of another one, or damaged.
    """
    if partial is None or not (path := Path(partial)).exists():
        return None if partial is None else Path(partial)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)[MARK]
    except Exception as error:  # whatever torch says of a file that is none of its own
        raise AuditFileError(
            f"{path} is no training that was interrupted ({error}): remove it to start anew"
        ) from error
    if found != fingerprint_of_training(training):
        raise AuditFileError(
            f"{path} is an interrupted training of other data or with other settings: give the same ones to go on, or "
            "remove it to start anew"
        )
    return path
