"""The folder that an audit is saved in: checked before any work, and left out where a source is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfclean_hooks.data.image_files import image_suffixes, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.storage.commit import check_output
from selfclean_hooks.storage.folder import holds_audit, kept_encoder
from selfclean_hooks.storage.splits import split_folders


def check_output_folder(output: Path, splits: Iterable[str], sources: Iterable[str] = ()) -> None:
    """See that an audit can be saved in a folder without a loss; the folder is made.

    Args:
        output: the folder.
        splits: names of the splits; "" for one data set.
        sources: what is audited, as written.

    Raises:
        AuditFileError: it cannot be written, or holds files that would be replaced and that no audit wrote.
        SourceError: it lies within a source and holds images, of which nothing says whether they are to be audited.
    """
    names = [name for name in splits if name]
    places = split_folders(names).values() if names else None
    for source in map(os.path.expanduser, sources):
        if is_within(output, source) and not holds_audit(output) and _holds_images(output):
            raise SourceError(
                f"the folder for the audit must not be a part of what is audited: {output} lies within {source} and "
                "holds images. Give another folder with --output"
            )
    is_used = output.is_dir() and holds_audit(output)
    check_output(output, places)
    if is_used and refused_folder(output).is_dir():
        check_output(refused_folder(output), places)


@contextmanager
def removed_if_empty(output: Path, made_here: bool = True) -> Iterator[None]:
    """At the end of the block, remove the folder and those above it that were not there before and hold nothing.

    An audit that is interrupted, or fails, leaves no trace. `made_here`: whether it is this process that makes them.
    """
    new = [place for place in (output, *output.parents) if made_here and not os.path.lexists(place)]
    try:
        yield
    finally:
        for place in new:
            with suppress(OSError):  # it holds something
                place.rmdir()


def encoder_in(output: Path, splits: Iterable[str]) -> Path | None:
    """The encoder that the earlier audit in a folder kept; `splits`: their names, the training split first."""
    names = [name for name in splits if name]
    return kept_encoder(output, split_folders(names)[names[0]] if names else "")


def refused_folder(output: Path) -> Path:
    """Where an audit is saved that is not to be trusted, beside an earlier one."""
    whole = output.absolute()  # "." has no name
    return whole.with_name(f"{whole.name}.refused")


def is_within(folder: str | Path, source: str | Path) -> bool:
    """Whether a folder lies below another one."""
    try:
        return Path(os.path.realpath(source)) in Path(os.path.realpath(folder)).parents
    except ValueError:  # a name that no file can have
        return False


def _holds_images(folder: Path) -> bool:
    endings = image_suffixes()
    return any(suffix(name) in endings for _, _, files in os.walk(folder) for name in files)
