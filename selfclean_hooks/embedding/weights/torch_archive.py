"""Files of torch.save: a zip archive of uncompressed records; before torch 1.6, pickles and numbers in a row.

The directory of the archive is checked before anything is read: no record is compressed, none overlaps another, each is
as long as its tensors need. So what is read is never more than the file itself has.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.embedding.weights.inert_pickle import read_pickle
from selfclean_hooks.embedding.weights.stored_tensor import INDEX_BYTES, Load, Storage, StoredTensor

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how the files begin
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of an old file
END = struct.Struct("<4s4H2LH")  # of an archive without comment, the last entry of its directory
LONG_END, LOCATOR = struct.Struct("<4sQ2H2L4Q"), 20  # of a long one before it, and bytes between the two
HEADER = struct.Struct("<4s22xHH")  # before a record
Places = Mapping[str, tuple[int, int]]  # of numbers by key: where they begin, and how many bytes they have


class ScriptedError(Exception):
    """The file is a TorchScript archive."""


def read_archive(path: Path, trusted: Collection[str]) -> tuple[Any, Callable[[Mapping[str, StoredTensor]], Load]]:
    """What a file of torch.save holds, tensors as descriptions, and what makes of those a reader of values.

    Args:
        path: begins with `ZIP` or `PICKLE`.
        trusted: names of classes that may be in it.

    Raises:
        NotWeightsError: it holds objects of other classes.
        ScriptedError: it is a TorchScript archive.
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        read = _new if file.read(4) == ZIP else _old
        content, places = read(file, tuple(trusted))
    return content, lambda tensors: lambda names: _values(path, {name: tensors[name] for name in names}, places)


def check_archive(file: io.BufferedReader) -> list[zipfile.ZipInfo]:
    """The directory of an archive, in the order of its records, checked to be as torch.save writes it.

    Raises:
        ScriptedError: torch.jit.save wrote it.
        ValueError: it is damaged.
    """
    records, last = _directory(file)
    if any(record.filename.partition("/")[2].startswith(("code/", "constants.pkl")) for record in records):
        raise ScriptedError
    starts = [*(record.header_offset for record in records[1:]), last]
    for record, following in zip(records, starts, strict=True):
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise ValueError(f"the record {record.filename} is compressed, which torch.save never does")
        if not 0 <= record.header_offset <= following - HEADER.size - record.file_size:
            raise ValueError(f"the record {record.filename} overlaps with what comes after it")
    return records


def _directory(file: io.BufferedReader) -> tuple[list[zipfile.ZipInfo], int]:
    """The records of an archive by their places, and where the last of them ends."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - END.size - LOCATOR - LONG_END.size))
    tail = file.read()
    end = END.unpack(tail[-END.size :]) if len(tail) >= END.size else (b"",)
    if end[0] != b"PK\x05\x06":
        raise ValueError("it is cut short: its directory is not at its end")
    length = LONG_END.unpack(tail[: LONG_END.size])[8] if tail.startswith(b"PK\x06\x06") else end[5]
    if length > INDEX_BYTES:
        raise ValueError(f"its directory has {length >> 20} MB, {INDEX_BYTES >> 20} MB at most are read")
    try:
        with zipfile.ZipFile(file) as archive:
            return sorted(archive.infolist(), key=lambda record: record.header_offset), archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, OSError, struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"its directory cannot be read: {error}") from error


def _new(file: io.BufferedReader, trusted: tuple[str, ...]) -> tuple[Any, Places]:
    """The content of an archive, and where its numbers are."""
    records = check_archive(file)
    root = records[0].filename.partition("/")[0] if records else ""
    named = {record.filename.removeprefix(f"{root}/"): record for record in records}
    if "data.pkl" not in named:
        raise ValueError("it has no record data.pkl")
    if "byteorder" in named and _content(file, named["byteorder"]) != sys.byteorder.encode():
        raise ValueError("its numbers are in the order of bytes of another machine")
    content, storages = read_pickle(io.BytesIO(_content(file, named["data.pkl"])), trusted)
    for key, numbers in storages.items():
        size = named[f"data/{key}"].file_size if f"data/{key}" in named else 0
        if size != numbers.nbytes:
            raise ValueError(f"the record data/{key} has {size} bytes, its tensors need {numbers.nbytes}")
    return content, {key: (_start(file, named[f"data/{key}"]), s.nbytes) for key, s in storages.items() if s.nbytes}


def _old(file: io.BufferedReader, trusted: tuple[str, ...]) -> tuple[Any, Places]:
    """The content of a file of before torch 1.6, and where its numbers are."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if [read_pickle(file, trusted)[0] for _ in range(2)] != [MAGIC, PROTOCOL]:
        raise ValueError("it does not begin as files of torch.save do")
    read_pickle(file)  # of the machine
    (content, storages), (keys, _) = read_pickle(file, trusted), read_pickle(file)
    places, at = {}, file.tell()
    for key in keys if isinstance(keys, list) else []:
        if key not in storages:
            raise ValueError("it holds numbers of no tensor")
        places[key] = (at + 8, storages[key].nbytes)  # before the numbers is how many they are
        at += 8 + storages[key].nbytes
    if at > size or places.keys() != storages.keys():
        raise ValueError("it is cut short")
    return content, places


def _start(file: io.BufferedReader, record: zipfile.ZipInfo) -> int:
    """Where the bytes of a record begin."""
    file.seek(record.header_offset)
    head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(ZIP):
        raise ValueError(f"the record {record.filename} is not where its directory says")
    _, name, extra = HEADER.unpack(head)
    return record.header_offset + HEADER.size + int(name) + int(extra)


def _content(file: io.BufferedReader, record: zipfile.ZipInfo) -> bytes:
    if record.file_size > INDEX_BYTES:
        size = f"{record.file_size >> 20} MB, {INDEX_BYTES >> 20} MB at most are read"
        raise ValueError(f"the record {record.filename} has {size}")
    file.seek(_start(file, record))
    return file.read(record.file_size)


def _values(path: Path, tensors: Mapping[str, StoredTensor], places: Places) -> dict[str, Tensor]:
    """The values of tensors; those of shared numbers share them in memory too."""
    wanted: dict[str, Storage] = {tensor.place[0].key: tensor.place[0] for tensor in tensors.values()}
    with path.open("rb") as file:
        read = {key: _bytes(file, *places[key]) if numbers.nbytes else _none() for key, numbers in wanted.items()}
    found = {}
    for name, tensor in tensors.items():
        numbers, offset, stride = tensor.place
        held = read[numbers.key]
        whole = held[: held.numel() // tensor.dtype.itemsize * tensor.dtype.itemsize].view(tensor.dtype)
        found[name] = torch.as_strided(whole, tensor.shape, stride, offset)
    return found


def _none() -> Tensor:
    return torch.empty(0, dtype=torch.uint8)


def _bytes(file: io.BufferedReader, start: int, size: int) -> Tensor:
    held = np.empty(size, np.uint8)
    file.seek(start)
    if file.readinto(held.data) != size:
        raise ValueError("it is cut short")
    return torch.from_numpy(held)
