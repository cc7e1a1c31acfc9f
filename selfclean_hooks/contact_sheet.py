"""The worst samples of an issue on one picture, for loggers that show pictures."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from selfclean_hooks.errors import SettingError
from selfclean_hooks.previews import PNG, Curve, Preview, Table, Text, decoded
from selfclean_hooks.thresholds import ISSUES, flagged
from selfclean_hooks.thumbnails import PAIRS, SIDE, lowest

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

PAPER, INK, FAINT, RED, BLUE = (250, 250, 250), (20, 20, 20), (205, 205, 205), (200, 30, 30), (47, 102, 144)
FONT_SIZE, LINE = 12, 16
SMALL = 10  # font of previews
GAP = 8
COLUMNS = 6  # pictures side by side, so three pairs


@dataclass(frozen=True)
class _Tile:
    indices: tuple[int, ...]
    lines: tuple[str, ...]
    is_flagged: bool


def contact_sheet(audit: Audit, issue: str, most: int = 24) -> NDArray[np.uint8] | None:
    """The samples (or nearest pairs) with the worst scores, worst first, each with its index and score.

    Flagged ones have a red frame. Under label errors stands "given", "-> predicted". Samples without a thumbnail are
    left out. Text, signals and rows are drawn small, in characters that Pillow's own font has.

    Args:
        audit: carries the pictures and previews, as `thumbnails`.
        issue: "near_duplicates" (pairs side by side), "off_topic" or "label_errors".
        most: samples or pairs shown, at least 1; an audit carries pictures of about fifty.

    Returns:
        (H, W, 3) RGB on a light background, tiles of one size; None where there is nothing to show.

    Raises:
        SettingError: there is no such issue, or `most` is no positive whole number.
    """
    if issue not in ISSUES:
        raise SettingError(f"a contact sheet is of one of {', '.join(ISSUES)}, got {issue!r}")
    if not isinstance(most, int) or most < 1:
        raise SettingError(f"most must be a whole number of at least 1, got {most!r}")
    found = [] if issue in audit.scores.not_run else _tiles(audit, issue)
    tiles = [tile for tile in found if all(i in audit.thumbnails for i in tile.indices)][:most]
    return np.asarray(_drawn(audit, tiles)) if tiles else None


def _tiles(audit: Audit, issue: str) -> list[_Tile]:
    s, threshold = audit.scores, audit.decisions.thresholds[issue]
    if issue == "near_duplicates":
        hits = flagged(s.pair_score, threshold)
        ends = [(int(i), int(j)) for i, j in s.pair_index[:PAIRS]]  # there are pictures of no others
        return [
            _Tile(ends[p], (f"{ends[p][0]} and {ends[p][1]}", f"score {s.pair_score[p]:.4g}"), bool(hits[p]))
            for p in range(len(ends))
        ]
    scores, hits = s.off_topic if issue == "off_topic" else s.label, audit.decisions.flags[issue]
    labels = _labels if issue == "label_errors" else lambda audit, i: ()
    return [_Tile((i,), (f"{i}: {scores[i]:.4g}", *labels(audit, i)), bool(hits[i])) for i in lowest(scores).tolist()]


def _labels(audit: Audit, i: int) -> tuple[str, str]:
    names = audit.scores.class_names
    codes = int(audit.scores.given_label[i]), int(audit.scores.predicted_label[i])
    given, predicted = (names[code] if names and 0 <= code < len(names) else str(code) for code in codes)
    return given, f"-> {predicted}"


def _drawn(audit: Audit, tiles: list[_Tile]) -> Image.Image:
    across = len(tiles[0].indices)
    columns = min(COLUMNS // across, len(tiles))
    width, height = across * SIDE + 2 * GAP, SIDE + len(tiles[0].lines) * LINE + 2 * GAP
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), PAPER)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        _draw(sheet, audit, tile, column * width + GAP, row * height + GAP)
    return sheet


def _draw(sheet: Image.Image, audit: Audit, tile: _Tile, x: int, y: int) -> None:
    pen, width = ImageDraw.Draw(sheet), len(tile.indices) * SIDE
    for place, i in enumerate(tile.indices):
        picture = _small(audit.thumbnails[i])
        left, top = x + place * SIDE + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2
        sheet.paste(picture, (left, top))
    frame = (x - 2, y - 2, x + width + 1, y + SIDE + 1)
    pen.rectangle(frame, outline=RED if tile.is_flagged else FAINT, width=2)
    font = ImageFont.load_default(FONT_SIZE)
    for number, line in enumerate(tile.lines):
        pen.text((x, y + SIDE + 2 + number * LINE), _fitting(line, width, font), fill=INK, font=font)


def _small(content: bytes) -> Image.Image:
    """The picture in a thumbnail, or the preview drawn."""
    if content.startswith(PNG):
        with Image.open(io.BytesIO(content)) as opened:
            picture: Image.Image = opened.convert("RGB")
        return picture
    drawn, shown = Image.new("RGB", (SIDE, SIDE), PAPER), decoded(content)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(SMALL)
    for outline in filter(None, shown.outlines if isinstance(shown, Curve) else ()):
        pen.polygon([(x * SIDE / 100, y * SIDE / 100) for x, y in outline], fill=BLUE, outline=BLUE)
    for number, line in enumerate(_lines(shown, font)[: SIDE // SMALL - 1]):
        pen.text((2, number * SMALL), _fitting(line, SIDE - 4, font), fill=INK, font=font)
    return drawn


def _lines(shown: Preview | None, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    if isinstance(shown, Table):
        return [f"{name}: {value}" for name, value in shown.rows]
    words = shown.text.split() if isinstance(shown, Text) else []
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(_known(longer)) <= SIDE - 4:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _known(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text cut to the width, in characters that Pillow's own font has."""
    text = _known(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
