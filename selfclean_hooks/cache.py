"""Embeddings kept between runs, by the content of the sample and the weights of the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import AuditFileError, SettingError
from selfclean_hooks.storage import write


class Cache:
    """Vectors by digest of the sample, for one encoder: one file in a folder; without a folder, nothing is kept.

    Attributes:
        note: why nothing is kept although there is a folder, or "".
    """

    def __init__(self, folder: str | Path | None, encoder: str | None) -> None:
        """Read what earlier runs with this encoder (its fingerprint, None where it has none) kept.

        Raises:
            AuditFileError: the file is damaged, or the folder cannot be made.
            SettingError: `folder` is no path.
        """
        self.note = ""
        self._path: Path | None = None
        self._known: dict[str, NDArray[np.float32]] = {}
        if folder is None:
            return
        if not isinstance(folder, (str, Path)):
            raise SettingError(f"cache_dir must be the path of a folder or None, got {folder!r}")
        if encoder is None:  # two functions of one name would share their embeddings
            self.note = "nothing is kept in cache_dir: whether a function is still the same cannot be told"
            return
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)  # now and not after an hour
        except OSError as error:
            raise AuditFileError(
                f"cache_dir {folder} cannot be made a folder ({error.strerror}): choose another one"
            ) from error
        self._path = Path(folder) / f"{encoder}.npz"
        self._known = _read(self._path) if self._path.exists() else {}

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
        write(self._path, buffer.getvalue())


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            digests, vectors = file["digests"].tolist(), np.asarray(file["vectors"])
            if vectors.ndim != 2 or vectors.dtype != np.float32:
                raise ValueError(f"vectors are {vectors.shape} {vectors.dtype}")
            return dict(zip(digests, vectors, strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, TypeError, AttributeError) as error:
        raise AuditFileError(f"the embedding cache {path} cannot be read ({error}): delete the file") from error
