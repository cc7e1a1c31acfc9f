"""Reads samples for people, in this process or in workers."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, features

from selfclean_hooks.data.images import to_image, to_rgb
from selfclean_hooks.data.items import split
from selfclean_hooks.data.previews.preview import column_names, preview
from selfclean_hooks.data.reader import Sample, SampleReader

SIDE = 160  # pixels, at most
LOSSLESS = 64  # images no larger are stored exactly: shown enlarged, every pixel of them is seen
QUALITY = 80
EFFORT = 2  # of 0 to 6: three times as fast as the usual 4, for 7% more bytes
COLOURS = 64  # images with more are not drawings: PNG needs ten times the bytes for them
GAP = 2.0  # pixels to a pixel are averaged first down to that, as Pillow makes thumbnails
ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def thumbnail_of(image: Image.Image) -> bytes:
    """The image as WebP or PNG bytes, whichever are fewer: no side longer than `SIDE`, small ones as they are.

    Transparency is kept, and nothing else beside the pixels: a report is passed on, but not the place where an image
    was taken. Where Pillow has no WebP it is PNG. The image is left as it is.
    """
    if max(image.size) > 8 * SIDE:  # crudely first: converting a huge image whole would cost gigabytes
        image = _resized(image, 8 * SIDE, Image.Resampling.NEAREST)
    image = _plain(image)
    if max(image.size) > SIDE:
        image = _resized(image, SIDE, Image.Resampling.LANCZOS)
    exact = max(image.size) <= LOSSLESS
    if not has_webp():
        return _saved(image, "PNG")
    webp = _saved(image, "WEBP", quality=QUALITY, lossless=exact, method=EFFORT)
    if not exact and image.getcolors(COLOURS) is None:
        return webp
    return min(webp, _saved(image, "PNG"), key=len)


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
            found = to_image(split(item).value)
            return preview(item, column_names(self.dataset)) if found is None else thumbnail_of(found)
        except Exception:  # whatever a user's data set raises: a report with one image less is better than none
            return None
