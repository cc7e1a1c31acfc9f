"""Which samples are shown, and small pictures or previews of them for the report."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

SAMPLES = 48  # shown per issue, at most
PAIRS = 32
SIDE = 112


def lowest(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Positions of the `SAMPLES` lowest scores, worst first; NaN is no score."""
    scored = int((~np.isnan(scores)).sum())
    return np.argsort(scores, kind="stable")[: min(SAMPLES, scored)]


def thumbnails(audit: Audit, dataset: Any) -> dict[int, bytes]:
    """What is to be seen of the samples with the worst scores and of both ends of the nearest pairs.

    Args:
        audit: of `dataset`.
        dataset: is read without its transforms and left as it is, and so is global random state.

    Returns:
        Position: of a picture PNG bytes, no side longer than `SIDE` pixels, without metadata; of text, signals and rows
        the bytes of a preview (see previews.py). Samples that are none of these or cannot be read are left out.
    """
    s = audit.scores
    shown = [lowest(s.off_topic), lowest(s.label), s.pair_index[:PAIRS].ravel()]
    shown += [] if s.leaks is None else [s.leaks.index[:PAIRS]]
    return _small(dataset, [int(i) for i in np.unique(np.concatenate(shown)) if int(i) not in s.errors])


def leak_thumbnails(audit: Audit, datasets: Mapping[str, Any]) -> dict[tuple[str, int], bytes]:
    """What is to be seen of the other splits' ends of the nearest pairs between splits.

    Args:
        audit: of one split, with leakage looked for.
        datasets: the other splits, by name; read as `thumbnails` does.

    Returns:
        (split, position): bytes as of `thumbnails`.
    """
    leaks = audit.scores.leaks
    if leaks is None:
        return {}
    pairs = zip(leaks.other[:PAIRS].tolist(), leaks.other_index[:PAIRS].tolist(), strict=True)
    shown = sorted({(leaks.splits[other], index) for other, index in pairs})
    wanted = {split: [i for name, i in shown if name == split] for split in datasets}
    return {(split, i): small for split, at in wanted.items() for i, small in _small(datasets[split], at).items()}


def _small(dataset: Any, positions: list[int]) -> dict[int, bytes]:
    from selfclean_hooks.randomness import kept_rng  # these need torch; the names above do not
    from selfclean_hooks.views import raw_view

    with kept_rng(dataset):
        view = raw_view(dataset).dataset
        shown = {i: _shown(view, i) for i in positions}
    return {i: small for i, small in shown.items() if small is not None}


def _shown(dataset: Any, index: int) -> bytes | None:
    from selfclean_hooks.items import picture, split
    from selfclean_hooks.previews import column_names, preview

    try:
        item = dataset[index]
        found = picture(split(item).value)
        return preview(item, column_names(dataset)) if found is None else png(found)
    except Exception:  # whatever a user's data set raises: a report with a picture less is better than none
        return None


def png(image: Image.Image) -> bytes:
    """The image as PNG bytes, its longest side at most `SIDE`; very small ones are enlarged by a whole factor."""
    from selfclean_hooks.items import to_rgb

    if max(image.size) > 8 * SIDE:  # crudely first: converting a huge picture whole would cost gigabytes
        image = _resized(image, 8 * SIDE / max(image.size), Image.Resampling.NEAREST)
    image = to_rgb(image)
    factor = SIDE / max(image.size)
    if factor < 1:
        image = _resized(image, factor, Image.Resampling.LANCZOS)
    elif factor >= 2:
        image = _resized(image, int(factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    # A report is passed on: not with the place where a picture was taken.
    image.save(buffer, "PNG", icc_profile=None, exif=None)
    return buffer.getvalue()


def _resized(image: Image.Image, factor: float, how: Image.Resampling) -> Image.Image:
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), how)
