"""What an audit depends on, in one digest: two runs with the same digest would find the same.

Safer than quick: a test that passes because a change went unseen is worse than one that audits again. Hashed are the
bytes of every sample's file, or its content if it has none; and of evenly spaced samples what is read of them, so that
other code or transforms show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfclean_hooks.auditing import checked_settings
from selfclean_hooks.backbones import resolve
from selfclean_hooks.contents import evenly, tried
from selfclean_hooks.fingerprints import data_fingerprint
from selfclean_hooks.items import digest, split
from selfclean_hooks.keys import file_key, own_files
from selfclean_hooks.labels import as_labels
from selfclean_hooks.origins import class_names, file_name
from selfclean_hooks.randomness import kept_rng
from selfclean_hooks.reading import Pictures
from selfclean_hooks.views import eval_view, raw_view

FORMAT = 1  # of the key; another one makes all audits anew
READ = 256  # samples read although the bytes of their files are known


def key_of(splits: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """The digest, None where it cannot be told whether the backbone is still the same: of functions.

    Args:
        splits: name: map-style data set; {"": dataset} for one.
        settings: arguments of `audit`; of the thresholds only that which decides on the pairs that are listed.

    Raises:
        BackboneError: the backbone is none.
        DataError: labels do not fit.
        SettingError: there is no such method, or thresholds are none.
    """
    backbone, labels = settings["backbone"], settings["labels"]
    named = isinstance(backbone, (str, Path))
    encoder = str(backbone) if named else resolve(backbone, Pictures(()), device=settings["device"]).fingerprint
    if encoder is None:
        return None
    thresholds, _ = checked_settings(settings["method"], settings["thresholds"], None)
    return digest(
        [
            FORMAT,
            [version(package) for package in ("selfclean-hooks", "torch", "timm")],
            [named, encoder, str(settings["device"]), settings["method"], settings["seed"]],
            thresholds.near_duplicates,
            [[name, *_contents(dataset, named)] for name, dataset in splits.items()],
            [
                as_labels(labels if name == "" else (labels or {}).get(name), len(dataset))
                for name, dataset in splits.items()
            ],
        ]
    )


def _contents(dataset: Any, as_stored: bool) -> Iterator[Any]:
    """What there is to know of a data set. Encoders with a name get what is stored, modules what a data set returns."""
    n = len(dataset)
    files = [file_name(dataset, i) for i in range(n)]
    yield from (data_fingerprint(dataset), files, class_names(dataset))
    read = set(evenly(n, READ).tolist()) if n else set()
    with kept_rng(dataset):
        view = (raw_view if as_stored else eval_view)(dataset).dataset
        for i, file in enumerate(own_files(files)):
            stored = file_key(file) if file else ""
            yield [stored, *(_item(view, i) if not stored or i in read else ())]


def _item(view: Any, index: int) -> tuple[str | None, str | None]:
    """Content and label of a sample, None for what cannot be read."""
    item = tried(lambda: split(view[index]))
    if item is None:
        return None, None
    return tried(lambda: digest(item.value)), tried(lambda: digest(item.label))
