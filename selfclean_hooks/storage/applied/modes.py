"""How an audit is applied."""

from __future__ import annotations

from enum import Enum

from selfclean_hooks.errors import SettingError


class Mode(str, Enum):
    """How the files of the new data set come to be."""

    link = "link"
    copy = "copy"
    move = "move"
    list = "list"


def mode_of(text: str) -> Mode:
    """The mode of a name.

    Raises:
        SettingError: there is none.
    """
    try:
        return Mode(text)
    except ValueError:
        raise SettingError(f"mode must be one of {', '.join(mode.value for mode in Mode)}, got {text!r}") from None
