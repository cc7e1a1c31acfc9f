"""A cache folder that is looked into, for the tests of caches."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.embedding.cache import NAME, Cache
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import Encoder
from tests.helpers.embedding_data import mean_colour


def cached(dataset: Any, backbone: Any, folder: Path) -> Embeddings:
    return embed(dataset, backbone, cache_dir=folder, progress=False)


def query(folder: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(folder / NAME, isolation_level=None)) as file:
        return file.execute(sql).fetchall()


change = query


def rows(folder: Path) -> int:
    return int(query(folder, "SELECT count(*) FROM samples JOIN vectors USING (id)")[0][0])


def notes_on_cache(found: Embeddings) -> list[str]:
    return [note for note in found.notes if NAME in note or "cache_dir" in note]


def stored(folder: Path, encoder: str, vectors: dict[str, Any]) -> None:
    """A run with these samples."""
    cache = Cache(folder, encoder)
    cache.keep({name: np.asarray(vector, np.float32) for name, vector in vectors.items() if not cache.get([name])})
    cache.finish(vectors)


def small(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def refused(image: Image.Image) -> torch.Tensor:
    raise RuntimeError("this image is known")


def encoder(prepare: Any) -> Encoder:
    return Encoder("mean", mean_colour, None, "fingerprint", prepare)


MIB = {name: np.full(2**18, at, np.float32) for at, name in enumerate("abcdef")}  # of 1 MiB each


def names(folder: Path) -> list[str]:
    return [name for (name,) in query(folder, "SELECT encoder || digest FROM samples ORDER BY 1")]


def denied(*_: Any) -> None:
    raise PermissionError(13, "Permission denied")
