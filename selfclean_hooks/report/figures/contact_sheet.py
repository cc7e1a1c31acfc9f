"""The worst samples of an issue on one image, for loggers that show images."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from selfclean_hooks.data.previews import Curve, Preview, Table, Text, decode_preview, image_kind
from selfclean_hooks.results.findings import Finding, findings

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

PAPER, INK, FAINT, RED, BLUE = (250, 250, 250), (20, 20, 20), (205, 205, 205), (200, 30, 30), (47, 102, 144)
FONT_SIZE, LINE = 12, 16
SIDE = 112
SMALL = 10  # font of previews
GAP = 8
COLUMNS = 6  # images side by side, so three pairs


def contact_sheet(audit: AuditResult, issue: str, most: int = 24) -> NDArray[np.uint8] | None:
    """The samples (or nearest pairs) with the worst scores, worst first, each with its index and score.

    Flagged ones have a red frame. Beside a surplus copy stands the one that is kept, under label errors "given",
    "-> predicted". Samples without a thumbnail are left out. Text, signals and rows are drawn small, in characters
    that Pillow's own font has.

    Args:
        audit: with thumbnails.
        issue: "near_duplicates" (pairs side by side), "off_topic" or "label_errors".
        most: samples or pairs shown, at least 1.

    Returns:
        (H, W, 3) RGB on a light background, tiles of one size; None where there is nothing to show.

    Raises:
        SettingError: there is no such issue, or `most` is not a positive whole number.
    """
    found = findings(audit, issue, most, seen=True)
    return np.asarray(_drawn(found)) if found else None


def _lines_under(one: Finding) -> tuple[str, ...]:
    """What is written below."""
    if len(one.indices) > 1:
        return (f"{one.indices[0]} and {one.indices[1]}", f"score {one.score:.4g}", *one.words)
    given, predicted = one.words[:1], [f"-> {label}" for label in one.words[1:]]
    return (f"{one.indices[0]}: {one.score:.4g}", *given, *predicted)


def _drawn(found: list[Finding]) -> Image.Image:
    across = len(found[0].indices)
    columns = min(COLUMNS // across, len(found))
    width, height = across * SIDE + 2 * GAP, SIDE + len(_lines_under(found[0])) * LINE + 2 * GAP
    sheet = Image.new("RGB", (columns * width, math.ceil(len(found) / columns) * height), PAPER)
    for number, one in enumerate(found):
        row, column = divmod(number, columns)
        _draw(sheet, one, column * width + GAP, row * height + GAP)
    return sheet


def _draw(sheet: Image.Image, one: Finding, x: int, y: int) -> None:
    pen, width = ImageDraw.Draw(sheet), len(one.indices) * SIDE
    for place, content in enumerate(one.thumbnails):
        sheet.paste(tile(content or b"", SIDE), (x + place * SIDE, y))
    frame = (x - 2, y - 2, x + width + 1, y + SIDE + 1)
    pen.rectangle(frame, outline=RED if one.is_flagged else FAINT, width=2)
    font = ImageFont.load_default(FONT_SIZE)
    for number, line in enumerate(_lines_under(one)):
        pen.text((x, y + SIDE + 2 + number * LINE), _fitting(line, width, font), fill=INK, font=font)


def tile(content: bytes, side: int) -> Image.Image:
    """A thumbnail on a square of paper, `side` pixels wide, or the preview drawn."""
    paper, image = Image.new("RGB", (side, side), PAPER), _small(content, side)
    paper.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return paper


def _small(content: bytes, side: int) -> Image.Image:
    """A thumbnail in the size of a tile, or the preview drawn."""
    if image_kind(content):
        return _fitted(content, side)
    drawn, shown = Image.new("RGB", (side, side), PAPER), decode_preview(content)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(SMALL)
    for outline in filter(None, shown.outlines if isinstance(shown, Curve) else ()):
        pen.polygon([(x * side / 100, y * side / 100) for x, y in outline], fill=BLUE, outline=BLUE)
    for number, line in enumerate(_lines(shown, font, side)[: side // SMALL - 1]):
        pen.text((2, number * SMALL), _fitting(line, side - 4, font), fill=INK, font=font)
    return drawn


def _fitted(content: bytes, side: int) -> Image.Image:
    """On paper where it is transparent; very small ones are enlarged by a whole factor."""
    with Image.open(io.BytesIO(content)) as opened:
        image = opened.convert("RGBA")
    paper: Image.Image = Image.new("RGBA", image.size, PAPER)
    paper.alpha_composite(image)
    factor = side / max(image.size)
    width, height = (max(1, round(length * (int(factor) if factor >= 1 else factor))) for length in image.size)
    how = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    return paper.convert("RGB").resize((width, height), how)


def _lines(shown: Preview | None, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, side: int) -> list[str]:
    if isinstance(shown, Table):
        return [f"{name}: {value}" for name, value in shown.rows]
    words = shown.text.split() if isinstance(shown, Text) else []
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(_known(longer)) <= side - 4:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _known(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text shortened to the width, in characters that Pillow's own font has."""
    text = _known(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
