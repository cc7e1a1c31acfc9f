"""Thumbnails of samples: how one is made, and those of all findings"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PIL import Image, features

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.images import shown_image, to_rgb
from selfclean_hooks.data.items import split
from selfclean_hooks.data.previews import column_names, preview
from selfclean_hooks.data.reader import Sample, SampleReader
from selfclean_hooks.data.views.dataset_view import open_dataset
from selfclean_hooks.data.workers import read_batches
from selfclean_hooks.results.findings import select_findings
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.text import bar

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

SIDE = 160  # pixels, at most
LOSSLESS = 64  # images no larger are stored exactly: shown enlarged, every pixel of them is seen
TINY = 16  # images no larger are PNG: some 60 bytes more than as WebP, in a fifth of the time
QUALITY = 82  # of a JPEG: a tenth of the time of a WebP that looks the same, for a fifth more bytes
EFFORT = 2  # of 0 to 6 of a WebP: three times as fast as the usual 4, for 7% more bytes
EXACT_QUALITY = 20  # of what is stored exactly it is an effort too: less than 80 takes, for 1% more bytes
COLOURS = 64  # images with more are photographs: PNG needs ten times the bytes for them
GAP = 2.0  # pixels to a pixel are averaged first down to that, as Pillow makes thumbnails
ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def thumbnail_of(image: Image.Image) -> bytes:
    """The image no side longer than `SIDE`: photographs as JPEG, others as WebP or PNG, small ones to the pixel.

    Transparency is kept, and nothing else beside the pixels: a report is passed on, but not the place where an image
    was taken. Where Pillow has no WebP that is PNG. The image is left as it is.
    """
    if max(image.size) > 8 * SIDE:  # crudely first: converting a huge image whole would cost gigabytes
        image = _resized(image, 8 * SIDE, Image.Resampling.NEAREST)
    image = _plain(image)
    if max(image.size) > SIDE:
        image = _resized(image, SIDE, Image.Resampling.HAMMING)  # in less than half the time of LANCZOS
    exact = max(image.size) <= LOSSLESS
    is_photograph = not exact and image.getcolors(COLOURS) is None
    if is_photograph and image.mode != "RGBA":
        return _saved(image, "JPEG", quality=QUALITY)
    if max(image.size) <= TINY or not has_webp():
        return _saved(image, "PNG")
    webp = _saved(image, "WEBP", quality=EXACT_QUALITY if exact else QUALITY, lossless=exact, method=EFFORT)
    return webp if is_photograph else min(webp, _saved(image, "PNG"), key=len)


@cache
def has_webp() -> bool:
    """Whether Pillow writes WebP here."""
    return bool(features.check("webp"))


def _plain(image: Image.Image) -> Image.Image:
    """In shades of grey, RGB or RGBA, 8 bits a channel."""
    if image.mode in ALPHA or "transparency" in image.info:
        coloured = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        is_opaque = coloured.getchannel("A").getextrema() == (255, 255)
        return coloured.convert("RGB") if is_opaque else coloured
    is_grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
    rgb = to_rgb(image)
    return rgb.convert("L") if is_grey else rgb


def _resized(image: Image.Image, side: int, how: Image.Resampling) -> Image.Image:
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    return image.resize((width, height), how, reducing_gap=None if how is Image.Resampling.NEAREST else GAP)


def _saved(image: Image.Image, kind: str, **how: object) -> bytes:
    bare = image.copy()
    bare.info = {}
    buffer = io.BytesIO()
    bare.save(buffer, kind, **how)
    return buffer.getvalue()


class ThumbnailReader(SampleReader):
    """What a person sees of each sample: its image made small, or a preview; an error where neither can be made."""

    def __getitem__(self, index: int) -> tuple[Sample, bytes | None]:
        """The sample at a position, and the bytes."""
        content = self._seen(index)
        return Sample(index, error="" if content is not None else "there is nothing to be seen"), content

    def _seen(self, index: int) -> bytes | None:
        try:
            item = self.dataset[index]
            found = shown_image(split(item).value)
            return preview(item, column_names(self.dataset)) if found is None else thumbnail_of(found)
        except Exception:  # whatever a user's data set raises: a report with one image less is better than none
            return None


ALONE = EmbeddingSettings(progress=False)


def with_thumbnails(audit: AuditResult) -> list[int]:
    """Positions, ascending, of the samples with thumbnails: the findings shown and their neighbours."""
    found, s = select_findings(audit), audit.scores
    wanted = {i for members in found.sets for i in members}
    wanted.update(s.pair_index[found.pairs].ravel().tolist())
    wanted.update(i for positions in found.samples.values() for i in positions.tolist())
    wanted.update(s.leaks.index[found.leaks].tolist() if s.leaks is not None else ())
    if audit.evidence is not None:
        wanted |= audit.evidence.neighbors()
    return sorted(wanted - set(s.errors))


def thumbnails(
    audit: AuditResult, dataset: Any, reading: EmbeddingSettings = ALONE, known: Mapping[int, bytes] | None = None
) -> dict[int, bytes]:
    """Thumbnails of the findings shown and of their neighbours. Each sample is read once.

    Args:
        audit: of `dataset`.
        dataset: is read without its transforms and left as it is, and so is global random state.
        reading: its workers read, its progress is shown.
        known: thumbnails of an earlier audit of the same data; these are not read again.

    Returns:
        Position: bytes of a small JPEG, PNG or WebP; of text, signals and rows those of a preview (data/previews.py).
        Samples that are none of these or cannot be read are left out.
    """
    wanted, known = with_thumbnails(audit), known or {}
    found = _small(dataset, [i for i in wanted if i not in known], reading)
    return {i: content for i in wanted if (content := found.get(i, known.get(i))) is not None}


def stream_thumbnails(audit: AuditResult, stream: Any, reading: EmbeddingSettings) -> dict[int, bytes]:
    """`thumbnails` of a stream, made in one more pass over it."""
    wanted, found = set(with_thumbnails(audit)), dict[int, bytes]()
    with preserve_rng_state(), bar("making thumbnails", reading.progress) as tick:
        for index, item in enumerate(stream):
            if tick is not None:
                tick(index + 1, audit.n)
            if index in wanted:
                _, content = ThumbnailReader(open_dataset([item], reading).stored.items, None)[0]
                found |= {} if content is None else {index: content}
    return found


def leak_thumbnails(
    audit: AuditResult,
    datasets: Mapping[str, Any],
    reading: EmbeddingSettings = ALONE,
    known: Mapping[tuple[str, int], bytes] = MappingProxyType({}),
) -> dict[tuple[str, int], bytes]:
    """Thumbnails of the samples of other splits in the leakage pairs that are shown.

    Args:
        audit: of one split, with leakage looked for.
        datasets: the other splits, by name; read as `thumbnails` does.
        reading: as for `thumbnails`.
        known: what is there already; it is not read again.

    Returns:
        (split, position): bytes as of `thumbnails`.
    """
    leaks = audit.scores.leaks
    if leaks is None:
        return {}
    pairs = select_findings(audit).leaks
    ends = set(zip(leaks.other[pairs].tolist(), leaks.other_index[pairs].tolist(), strict=True))
    found: dict[tuple[str, int], bytes] = {}
    for name, dataset in datasets.items():
        wanted = sorted(i for other, i in ends if leaks.splits[other] == name)
        new = _small(dataset, [i for i in wanted if (name, i) not in known], reading)
        found |= {(name, i): content for i in wanted if (content := new.get(i, known.get((name, i)))) is not None}
    return found


def _small(dataset: Any, positions: list[int], reading: EmbeddingSettings) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if not positions:
        return found
    view = open_dataset(dataset)
    with preserve_rng_state(view.dataset), bar("making thumbnails", reading.progress) as tick:
        batches = read_batches(ThumbnailReader(view.stored.items, None), reading, positions, [])
        for done, batch in enumerate(batches, 1):
            there = [sample.index for sample in batch.samples if not sample.error]
            found.update(zip(there, batch.contents, strict=True))
            if tick is not None:
                tick(min(done * reading.batch_size, len(positions)), len(positions))
    return found
