"""Changes of a file's content, drawn from a generator of random numbers."""

import copy
import csv
import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

Mutation = Callable[[bytes, Random], bytes]

TEXTS = (
    "",
    " ",
    "\x1b[31mred\x1b[0m",
    "\x9b2J",
    "a\r\nb\nc",
    "\x00",
    "\u202egnp.exe",
    "\ud800",
    "::error::no",
    "=1+1",
    "../../../canary",
    "/dev/zero",
    "nan",
    "x" * 5000,
    "é\u0301",
    "[red]x[/]",
    "<script>alert(1)</script>",
    "%s{0}",
)
NUMBERS = (
    0,
    -1,
    1,
    2,
    2**31,
    2**53 + 1,
    -(2**63),
    2**64,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
)
WORDS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    [0, [1, [2, [3]]]],
    {"a": {"b": {"c": []}}},
)
WHOLE = (
    b"",
    b"\x00" * 64,
    b"<!DOCTYPE html><html></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    b"null",
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"PK\x03\x04",
    b"\x80\x02}.",
    b"\xff\xfe" + "path,label\n".encode("utf-16-le"),
    b"SQLite format 3\x00" + bytes(100),
)


def value(rng: Random) -> Any:
    """Any value that JSON can hold, or nearly."""
    deep: Any = rng.choice(TEXTS)
    for _ in range(rng.choice((5, 70, 600))):
        deep = [deep] if rng.random() < 0.5 else {"a": deep}
    return rng.choice((rng.choice(TEXTS), rng.choice(NUMBERS), rng.choice(WORDS), deep))


# --- bytes ---------------------------------------------------------------------------------------------------------


def flip(content: bytes, rng: Random) -> bytes:
    """Some bits."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 32))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: Random) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(len(content) + 1)]


def splice(content: bytes, rng: Random) -> bytes:
    """A part of it stands somewhere else too, in place of what was there or beside it."""
    if not content:
        return content
    start, at = rng.randrange(len(content)), rng.randrange(len(content))
    part = content[start : start + rng.choice((1, 4, 16, 256))]
    return content[:at] + part + content[at + (len(part) if rng.random() < 0.5 else 0) :]


def overwrite(content: bytes, rng: Random) -> bytes:
    """A number of another size somewhere."""
    at = rng.randrange(len(content) + 1)
    number = rng.choice((struct.pack("<Q", 2**63), b"\xff" * 4, bytes(8), struct.pack("<L", 2**31), b"\x7f\xff"))
    return content[:at] + number + content[at + len(number) :]


def replace(_: bytes, rng: Random) -> bytes:
    """Something else."""
    return rng.choice(WHOLE)


BYTES: tuple[Mutation, ...] = (flip, truncate, splice, overwrite, replace)


# --- JSON ----------------------------------------------------------------------------------------------------------


def swap_json(content: bytes, rng: Random) -> bytes:
    """Another value, or another key, somewhere in a JSON document."""
    document = json.loads(content)
    places = list(_places(document))
    if not places or rng.random() < 0.02:
        return _dumped(value(rng))
    holder, key = rng.choice(places)
    if rng.random() < 0.15:
        del holder[key]
    elif isinstance(holder, dict) and rng.random() < 0.15:
        holder[rng.choice(TEXTS)] = holder.pop(key)
    else:
        other, at = rng.choice(places)  # what stands elsewhere in it may pass for longer than what is strange
        is_alike = type(other[at]) is type(holder[key]) and rng.random() < 0.5
        holder[key] = copy.deepcopy(other[at]) if is_alike else value(rng)
    return _dumped(document)


def swap_json_line(content: bytes, rng: Random) -> bytes:
    """The same in one of several lines."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    if rng.random() < 0.1:
        lines.insert(rng.randrange(len(lines)), lines[at])
    elif lines[at].strip():
        lines[at] = swap_json(lines[at], rng)
    return b"\n".join(lines)


def _places(document: Any) -> Any:
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, inner in list(entries):
        yield document, key
        yield from _places(inner)


def _dumped(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


# --- arrays --------------------------------------------------------------------------------------------------------

KINDS = ("f2", "f4", "f8", "i1", "u1", "i8", "u8", "?", "U3", "S2", "c8", "M8[s]", ">f4", ">i8")


class Runs:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("canary-ran", "w")


def swap_array(content: bytes, rng: Random) -> bytes:
    """Another type, shape or value in one of the arrays of an .npz."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    name = rng.choice(sorted(arrays))
    fate = rng.random()
    if fate < 0.08:
        del arrays[name]
    elif fate < 0.12:
        arrays[rng.choice(sorted(arrays))] = arrays[name]
    elif fate < 0.16:
        arrays[name] = np.array([Runs()], object)
    else:
        arrays[name] = _swapped(arrays[name], rng)
    buffer = io.BytesIO()
    with np.errstate(all="ignore"):
        (np.savez if rng.random() < 0.5 else np.savez_compressed)(buffer, **arrays)
    return buffer.getvalue()


def _swapped(array: Any, rng: Random) -> Any:
    flat = array.reshape(-1)
    try:
        with np.errstate(all="ignore"):
            kind = rng.randrange(8)
            if kind == 0:
                return array.astype(rng.choice(KINDS))
            if kind == 1:
                return array[None] if rng.random() < 0.5 else flat
            if kind == 2:
                return array[: rng.randrange(len(array) + 1)] if array.ndim else array
            if kind == 3:
                return np.concatenate([flat, flat]).reshape(-1, *array.shape[1:])
            if kind == 4:
                return np.zeros(rng.choice(((0,), (), (0, 0), (3, 0), (1, 1, 1, 1))), array.dtype)
            if kind == 5:
                return array.T
            changed = flat.copy()
            for _ in range(rng.choice((1, 3))):
                changed[rng.randrange(max(1, len(flat)))] = rng.choice(NUMBERS)
            return changed.reshape(array.shape)
    except (ValueError, TypeError, OverflowError, IndexError):
        return np.zeros(1)


def lie_about_shape(content: bytes, rng: Random) -> bytes:
    """The header of an array claims another shape, or type, of the same length."""
    at = content.find(b"'shape': (")
    if at < 0:
        return flip(content, rng)
    end = content.index(b")", at)
    shape = str(rng.choice((10**12, -1, 0, 2**63))).encode()
    return content[: at + 10] + shape[: end - at - 10].ljust(end - at - 10) + content[end:]


def within(content: bytes, rng: Random) -> bytes:
    """Other bytes in one of the records of a zip archive, whose checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(records))
    fate = rng.random()
    if fate < 0.05:
        records.pop(name)
    elif fate < 0.1:
        records[f"{name}{rng.choice(TEXTS)[:9]}".encode("utf-8", "replace").decode()] = records[name]
    else:
        records[name] = mutate(records[name], (flip, flip, splice, overwrite, lie_about_shape, truncate), rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,))) as archive:
        for each, held in records.items():
            archive.writestr(each.replace("\x00", "0"), held)
    return buffer.getvalue()


ARRAYS: tuple[Mutation, ...] = (*(swap_array,) * 9, *(within,) * 4, *BYTES)


# --- tables --------------------------------------------------------------------------------------------------------


def swap_cell(content: bytes, rng: Random) -> bytes:
    """Other cells, columns, or signs between them, in a .csv."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8", "replace").replace("\x00", ""))))
    if not rows or not rows[0]:
        return replace(content, rng)
    at, fate = rng.randrange(len(rows)), rng.random()
    if fate < 0.5 and rows[at]:
        cell = rng.choice((rng.choice(TEXTS), str(rng.choice(NUMBERS)), ""))
        rows[at][rng.randrange(len(rows[at]))] = cell
    elif fate < 0.6:
        rows = [[*row, *row[:1]] for row in rows]  # a column twice
    elif fate < 0.7:
        rows[at] = rows[at][:-1] if rng.random() < 0.5 else [*rows[at], "more"]
    elif fate < 0.8:
        rows = [row[::-1] for row in rows] if rng.random() < 0.5 else rows[1:]
    else:
        rows = rows[: rng.randrange(len(rows))]
    text = io.StringIO()
    csv.writer(text, delimiter=rng.choice(",,,,,,,,,;\t|"), quoting=rng.choice((0, 0, 1))).writerows(rows)
    return text.getvalue().encode(rng.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16")), "surrogatepass")


JSON: tuple[Mutation, ...] = (swap_json,) * 8 + BYTES
LINES: tuple[Mutation, ...] = (swap_json_line,) * 8 + BYTES
TABLE: tuple[Mutation, ...] = (swap_cell,) * 8 + BYTES


def mutate(content: bytes, mutations: tuple[Mutation, ...], rng: Random) -> bytes:
    """One to three changes; one that does not fit what an earlier one left is passed over."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            content = rng.choice(mutations)(content, rng)
        except Exception:  # the content is no document of this kind any more
            content = rng.choice(BYTES)(content, rng)
    return content
