"""Image files for the tests, and the message of a SOURCE that is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.source import open_source


def noisy(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def write(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or noisy()).save(path, **options)
    return path


def relative(paths: list[str], root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in paths]


def refused(text: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(str(text))
    return str(caught.value)
