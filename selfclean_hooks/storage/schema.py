"""What manifest.json and splits.json hold, as far as anything relies on it. Further keys are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from selfclean_hooks.core.embeddings import RepresentationQuality
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage.ownership import PLACE
from selfclean_hooks.utils import files, json_content

FORMAT = 1  # of both files
Index = TypeVar("Index", bound=Struct)
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class Counts(Struct, frozen=True):
    """Numbers of samples."""

    n: Count


class Settings(Struct, frozen=True):
    """What the audit was made with."""

    max_items: Annotated[int, Meta(ge=1)] = 1


class Encoder(Struct, frozen=True):
    """By what the samples were embedded."""

    rank_me: float | None = None


class Manifest(Struct, frozen=True):
    """manifest.json: the settings in force, and the provenance."""

    thresholds: dict[str, float | str | None]
    policy: dict[str, float | str]
    counts: Counts
    not_run: dict[str, str]
    scores_blake2b: Digest
    decisions_blake2b: Digest | None = None
    encoder_blake2b: Digest | None = None
    not_estimated: dict[str, str] = {}
    dataset: dict[str, Any] = {}
    encoder: Encoder | None = None
    fitness: RepresentationQuality | None = None
    settings: Settings = Settings()
    notes: tuple[str, ...] = ()
    copies: dict[str, str] = {}


class Split(Struct, frozen=True):
    """Where the audit of a split is."""

    name: Annotated[str, Meta(min_length=1)]
    folder: Annotated[str, Meta(pattern=rf"^{PLACE.pattern}\Z")]
    scores_blake2b: Digest


class Shift(Struct, frozen=True):
    """How far two splits lie apart."""

    split_1: str
    split_2: str
    distance: float
    expected: float
    p_value: float
    components: Count
    explained: float


class SplitsIndex(Struct, frozen=True):
    """splits.json."""

    splits: Annotated[list[Split], Meta(min_length=1)]
    shift: list[Shift]


def read_index(path: Path, kind: type[Index]) -> tuple[Index, Mapping[str, Any]]:
    """Read manifest.json or splits.json: what its schema knows of it, and all of it.

    Raises:
        AuditFileError: it cannot be read, has another version, or does not fit the schema.
    """
    try:
        content = json_content.parse(read(path))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not an object")
        if (version := content.get("format")) != FORMAT or isinstance(version, bool):
            raise AuditFileError(
                f"{path} must have format {FORMAT}, got {version!r:.60}: load it with the version of selfclean-hooks "
                "that wrote it, or run the audit again with this one"
            )
        return json_content.check(content, kind), content
    except ValueError as error:
        raise damaged_error(path, str(error)) from error


def read(path: Path) -> bytes:
    """Read a file of a saved audit.

    Raises:
        AuditFileError: it cannot be read.
    """
    try:
        return files.read(path)
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise AuditFileError(
            f"a saved audit is a folder with manifest.json and scores.npz; cannot read {path}: {why}. "
            "Give the folder that Audit.save or selfclean-hooks audit wrote"
        ) from error


def damaged_error(path: Path, came: str) -> AuditFileError:
    """The error about a file that changed since it was written."""
    return AuditFileError(
        f"{path} must be as Audit.save wrote it; {came}. Restore it from a copy, or run the audit again"
    )
