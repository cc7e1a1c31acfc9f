"""Names of samples whose files are copies: they are shown where they come from, and found where they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from selfclean_hooks.results.result import A, AuditResult

COPIES = "copies"  # in the provenance: where the data comes from -> where it lies here


def with_display_names(audit: A, origins: Mapping[str, str]) -> A:
    """The audit of copies under the names that their data has where it comes from.

    Args:
        audit: any.
        origins: path of each copy, a folder or a file: the URL, or the archive, that it is a copy of.
    """
    data = dict(audit.provenance.get("dataset", {}))
    names = renamed((str(data.get("name", "")), *(audit.names or ())), origins)
    leaks = audit.scores.leaks
    if leaks is not None and leaks.other_names is not None:
        leaks = replace(leaks, other_names=renamed(leaks.other_names, origins))
    copies = {origin: copy for copy, origin in origins.items()}
    return replace(
        audit,
        scores=replace(audit.scores, leaks=leaks),
        names=None if audit.names is None else names[1:],
        provenance={**audit.provenance, "dataset": {**data, "name": names[0]}, COPIES: copies},
    )


def files_of(audit: AuditResult) -> tuple[str, ...] | None:
    """(N,) `names` as the files are found on this machine."""
    return None if audit.names is None else renamed(audit.names, _copies(audit))


def file_of(audit: AuditResult, name: str) -> str:
    """The file of one name: of a sample of the audit, or of another split, or of the data set itself."""
    return renamed((name,), _copies(audit))[0]


def location_of(audit: AuditResult) -> str:
    """The name of the data set as it is found on this machine."""
    return file_of(audit, str((audit.provenance.get("dataset") or {}).get("name", "")))


def renamed(names: tuple[str, ...], prefixes: Mapping[str, str]) -> tuple[str, ...]:
    """Names with another beginning where one of the prefixes, up to the end of a part of the path, is theirs."""
    longest = sorted(((old.rstrip("/" + os.sep), new.rstrip("/")) for old, new in prefixes.items()), reverse=True)
    if not longest:
        return names

    def of(name: str) -> str:
        for old, new in longest:
            if name.startswith(old) and name[len(old) : len(old) + 1] in ("", "/", os.sep, "#", ":"):
                return new + name[len(old) :]
        return name

    return tuple(map(of, names))


def _copies(audit: AuditResult) -> Mapping[str, str]:
    return audit.provenance.get(COPIES) or {}
