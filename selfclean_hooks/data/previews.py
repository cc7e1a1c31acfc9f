"""What a person sees of a sample that is not an image: its text, its curve or its values.

A preview is small and is saved beside the thumbnails, as JSON where these are images. It is data: nothing in it is
markup, and nothing that `decode_preview` returns is longer than the limits here, whatever file it came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.data.signals import CHANNELS, is_signal

PNG, JPEG = b"\x89PNG", b"\xff\xd8\xff"
LONGEST = 400  # characters of a text
ROWS = 30  # values of a table
CELL = 80  # characters of a name or value in it
POINTS = 160  # of a curve
TOP = 1000  # of its heights, from 0
UNSEEN = {code: 0xFFFD for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}  # control characters
TEXT_NAMES = ("text", "sentence")
DEEPEST = 16  # data sets in data sets


@dataclass(frozen=True)
class Text:
    """The beginning of a text."""

    text: str
    rest: int  # characters that are not shown

    kind = "text"


@dataclass(frozen=True)
class Curve:
    """A signal as the least and the greatest value of each stretch of time, every channel on a scale of its own."""

    channels: tuple[tuple[tuple[int, int], ...], ...]  # of pairs in 0..`TOP`
    steps: int
    low: float  # of all channels
    high: float

    kind = "curve"

    @property
    def outlines(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """For each channel the corners (x, y) of its band in a square of side 100, y downwards."""
        return tuple(self._outline(place) for place in range(len(self.channels)))

    def _outline(self, place: int) -> tuple[tuple[float, float], ...]:
        band, height = self.channels[place], 100 / len(self.channels)
        top, deep = place * height + 0.05 * height, 0.9 * height
        across = [100 * x / max(1, len(band) - 1) for x in range(len(band))]
        upper = [(x, top + deep * (1 - high / TOP)) for x, (_, high) in zip(across, band, strict=True)]
        lower = [(x, top + deep * (1 - low / TOP)) for x, (low, _) in zip(across, band, strict=True)]
        return tuple((round(x, 2), round(y, 2)) for x, y in (*upper, *lower[::-1]))


@dataclass(frozen=True)
class Table:
    """Names and values of a row."""

    rows: tuple[tuple[str, str], ...]
    rest: int  # values that are not shown

    kind = "table"


Preview = Text | Curve | Table


def preview(item: Any, columns: tuple[str, ...] | None = None) -> bytes | None:
    """The preview of an item as bytes for `decode_preview`.

    Args:
        item: what a data set returned: a text (str or UTF-8 bytes), a mapping of names to values, or numbers: (D,) with
            D of at most `ROWS` is a row, a longer one and (C, T) or (T, C) a signal.
        columns: names of the values of a row; not used where there are more or fewer of them.

    Returns:
        None where there is nothing to show.
    """
    from selfclean_hooks.data.images import as_array  # these need torch; reading a preview does not
    from selfclean_hooks.data.items import split

    value = split(item).value
    text = _text(item, value)
    found: Preview | None
    if text is not None:
        found = Text(text[:LONGEST], max(0, len(text) - LONGEST))
    elif isinstance(value, Mapping):
        found = _table({str(name): entry for name, entry in value.items()})
    else:
        array = as_array(value)
        found = _of_numbers(_from_list(value) if array is None else array, columns)
    return None if found is None else json.dumps({found.kind: asdict(found)}).encode()


def column_names(dataset: Any) -> tuple[str, ...] | None:
    """The `feature_names` or `columns` of a data set or, where it has none, of the one that it is a part of."""
    for _ in range(DEEPEST):
        for name in ("feature_names", "columns"):
            found: Any = getattr(dataset, name, None)
            if isinstance(found, (list, tuple, np.ndarray)) or type(found).__name__ == "Index":
                return tuple(map(str, found))
        dataset = getattr(dataset, "dataset", None)
    return None


def decode_preview(content: bytes | None) -> Preview | None:
    """The preview in bytes that may be of anything; None where they hold none."""
    if content is None or not content.startswith(b"{"):
        return None
    try:
        ((kind, fields),) = json.loads(content).items()
        return READERS[kind](fields)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def image_kind(content: bytes) -> str:
    """The kind of image that the bytes of a thumbnail are, "png", "jpeg" or "webp"; "" of a preview."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    return "png" if content.startswith(PNG) else "jpeg" if content.startswith(JPEG) else ""


def _text(item: Any, value: Any) -> str | None:
    """The text that a value is, holds under a usual name, or is the token ids of."""
    if isinstance(value, (bytes, bytearray)):
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, str):
        return str(value)
    is_tokenised = isinstance(item, Mapping) and "input_ids" in item
    named = item if is_tokenised else value
    if isinstance(named, Mapping):
        found = next((named[name] for name in TEXT_NAMES if isinstance(named.get(name), str)), None)
        return " ".join(map(str, np.asarray(value).ravel().tolist())) if found is None and is_tokenised else found
    return None


def _from_list(value: Any) -> NDArray[Any] | None:
    if not isinstance(value, (list, tuple)) or not value or not all(type(entry) in (int, float) for entry in value):
        return None
    return np.asarray(value)


def _of_numbers(array: NDArray[Any] | None, columns: tuple[str, ...] | None) -> Table | Curve | None:
    if array is None or array.dtype.kind not in "buif" or array.size == 0:
        return None
    if array.ndim == 1 and len(array) <= ROWS:
        names = columns if columns is not None and len(columns) == len(array) else map(str, range(len(array)))
        return _table(dict(enumerate(array.tolist())), tuple(names))
    if array.ndim == 1:
        return _curve(array[None])
    return _curve(array if array.shape[0] < array.shape[1] else array.T) if is_signal(array.shape) else None


def _table(values: Mapping[Any, Any], names: tuple[str, ...] = ()) -> Table | None:
    cells = [_cell(entry) for entry in values.values()]
    if not cells or not any(cells):
        return None
    rows = tuple((name[:CELL], cell) for name, cell in zip(names or values, cells, strict=True))
    return Table(rows[:ROWS], max(0, len(rows) - ROWS))


def _cell(entry: Any) -> str:
    """A number or a short text; nothing of anything else."""
    entry = entry.item() if getattr(entry, "shape", None) == () or getattr(entry, "shape", None) == (1,) else entry
    if isinstance(entry, float):
        return f"{entry:.4g}"
    return str(entry)[:CELL] if isinstance(entry, (str, int)) else ""


def _curve(channels: NDArray[Any]) -> Curve | None:
    """Of (C, T) numbers. Stretches without a finite value are left out."""
    numbers = channels.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return None
    bands = tuple(_band(channel[np.isfinite(channel)]) for channel in numbers)
    return Curve(bands, numbers.shape[1], float(finite.min()), float(finite.max()))


def _band(channel: NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    if not len(channel):
        return ()
    low, high = channel.min() / 2, channel.max() / 2  # halves: the difference of the greatest floats is infinite
    scaled = (channel / 2 - low) / (high - low) if high > low else np.full(len(channel), 0.5)
    points = min(POINTS, len(channel))
    starts = np.arange(points) * len(channel) // points
    least, most = (np.rint(TOP * f.reduceat(scaled, starts)).astype(int) for f in (np.minimum, np.maximum))
    return tuple(zip(least.tolist(), most.tolist(), strict=True))


def _visible(text: Any, at_most: int) -> str:
    return str(text)[:at_most].replace("\r\n", "\n").translate(UNSEEN)


def _read_text(fields: Any) -> Text:
    return Text(_visible(fields["text"], LONGEST), int(fields["rest"]))


def _read_table(fields: Any) -> Table:
    rows = tuple((_visible(name, CELL), _visible(value, CELL)) for name, value in fields["rows"][:ROWS])
    return Table(rows, int(fields["rest"]))


def _read_curve(fields: Any) -> Curve:
    bands = [[(_height(low), _height(high)) for low, high in band[:POINTS]] for band in fields["channels"][:CHANNELS]]
    low, high = float(fields["low"]), float(fields["high"])
    if not (bands and math.isfinite(low) and math.isfinite(high)):
        raise ValueError("no curve")
    return Curve(tuple(map(tuple, bands)), int(fields["steps"]), low, high)


def _height(value: Any) -> int:
    return min(max(int(value), 0), TOP)


READERS: dict[str, Callable[[Any], Preview]] = {"text": _read_text, "table": _read_table, "curve": _read_curve}
