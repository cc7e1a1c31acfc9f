"""Embeddings kept between runs, by the content of the sample and the weights of the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage import write


class Cache:
    """Vectors by digest of the sample, for one encoder: one file in a folder; without a folder, nothing is kept."""

    def __init__(self, folder: str | Path | None, encoder: str) -> None:
        """Read what earlier runs with this encoder (its fingerprint) kept.

        Raises:
            AuditFileError: the file is damaged.
        """
        self._path = Path(folder) / f"{encoder}.npz" if folder is not None else None
        self._known = _read(self._path) if self._path is not None and self._path.exists() else {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def get(self, digest: str) -> NDArray[np.float32] | None:
        """The vector (D,) of a sample, or None."""
        return self._known.get(digest)

    def keep(self, positions: Mapping[str, int], vectors: NDArray[np.float32] | None) -> None:
        """Add the vectors at these positions (digest: row) and write the file in one step, if there is anything new."""
        new = {digest: row for digest, row in positions.items() if digest not in self._known}
        if self._path is None or vectors is None or not new:
            return
        known = {**self._known, **{digest: vectors[row] for digest, row in new.items()}}
        buffer = BytesIO()
        np.savez(buffer, digests=np.array(list(known)), vectors=np.stack(list(known.values())))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write(self._path, buffer.getvalue())


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(zip(file["digests"].tolist(), file["vectors"], strict=True))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise AuditFileError(f"the embedding cache {path} cannot be read ({error}): delete the file") from error
