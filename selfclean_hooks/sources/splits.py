"""The splits that a single folder holds: folders named train and val, a table for each, or saved data sets."""

from __future__ import annotations

import json
import os
import re
from glob import escape

from selfclean_hooks.data.image_files import suffix
from selfclean_hooks.sources.detection.formats import detection_splits
from selfclean_hooks.sources.folder import Parts, folders_below, images_root, is_image, walk
from selfclean_hooks.sources.folder_names import is_split

SHARD = re.compile(r"(.+)-\d+-of-\d+(-[0-9a-f]+)?")  # as the Hub names them: train-00000-of-00002-0f3a.parquet


def splits_in(path: str, without: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """What to audit for a SOURCE that holds several splits, by their names, the training split first; {} for others.

    A folder `without` is not read.
    """
    if of_detection := detection_splits(path):
        return of_detection
    if not os.path.isdir(path):
        return {}
    if _is_saved(path):
        return _saved_splits(path)
    files, _ = walk(path, without)
    images = sorted(parts for parts in files if is_image(parts))
    if not images:
        tables = parquet_files(path, without)
        return _training_first({name: shards(its) for name, its in tables.items()}) if len(tables) > 1 else {}
    root = images_root(images)
    names = sorted(set(folders_below(images, root)) - {""})
    splits = [name for name in names if is_split(name)]
    if len(splits) < 2 or (len(splits) < len(names) and not any(map(_is_training, splits))):
        return {}
    return _training_first({name: os.path.join(path, *root, name) for name in splits})


def parquet_files(path: str, without: str | os.PathLike[str] | None = None) -> dict[str, list[str]]:
    """The .parquet files below a folder that holds no images, by what tells their names apart: the split."""
    if _is_saved(path):
        return {}
    files, _ = walk(path, without)
    tables = sorted(parts for parts in files if suffix(parts[-1]) == ".parquet")
    if not tables or any(map(is_image, files)):
        return {}
    folders = {parts[:-1] for parts in tables}
    found: dict[str, list[str]] = {}
    for parts in tables:
        name = _split_of(parts)
        several = len({each for each in folders if each[-1:] != (name,)}) > 1
        key = "/".join((*parts[:-1], name)) if several and parts[-2:-1] != (name,) else name
        found.setdefault(key.replace("/", "."), []).append(os.path.join(path, *parts))
    return found


def shards(files: list[str]) -> str:
    """One file, or a pattern that matches several of one folder."""
    if len(files) == 1:
        return files[0]
    folder, name = os.path.split(files[0])
    match = SHARD.fullmatch(os.path.splitext(name)[0])
    return os.path.join(escape(folder), f"{escape(match[1])}-*.parquet" if match else "*.parquet")


def _split_of(parts: Parts) -> str:
    """ "train" for data/train-00000-of-00001.parquet, train.parquet and train/0000.parquet."""
    stem = os.path.splitext(parts[-1])[0]
    match = SHARD.fullmatch(stem)
    if match:
        return match[1]
    return parts[-2] if len(parts) > 1 and not is_split(stem) else stem


def _is_saved(path: str) -> bool:
    """Whether Hugging Face's `save_to_disk` wrote the folder."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("dataset_dict.json", "dataset_info.json"))


def _saved_splits(path: str) -> dict[str, str]:
    """The folders of a `DatasetDict` with a training split."""
    try:
        with open(os.path.join(path, "dataset_dict.json"), encoding="utf-8") as file:
            names = json.load(file)["splits"]
        found = {name: os.path.join(path, name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # opening it as a data set says what is wrong
        return {}
    is_whole = len(found) > 1 and any(map(_is_training, found)) and all(map(os.path.isdir, found.values()))
    return _training_first(found) if is_whole else {}


def _is_training(name: str) -> bool:
    return name.lower().startswith("train")


def _training_first(splits: dict[str, str]) -> dict[str, str]:
    return dict(sorted(splits.items(), key=lambda entry: not _is_training(entry[0])))
