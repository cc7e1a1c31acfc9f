"""The data that training is compared with: what the user gave, and what the trainer validates and tests on."""

from __future__ import annotations

from typing import Any

from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.fingerprint import data_fingerprint
from selfclean_hooks.errors import DataError
from selfclean_hooks.training.host import Host
from selfclean_hooks.training.loader_collections import data_of
from selfclean_hooks.training.loaders import sampled_indices
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.utils.processes import Processes


def held_out_splits(settings: TrainingSettings, processes: Processes, host: Host) -> tuple[dict[str, Any], list[str]]:
    """The data sets to compare with, which all processes have alike, by name; and notes on those that cannot be."""
    if not settings.check_leakage:
        return {}, []
    splits, notes = processes.run_on_each(lambda: _splits_here(settings, host))
    if processes.size == 1:
        return splits, notes
    notes = list(dict.fromkeys(note for part in processes.gather_all(lambda: notes) for note in part))
    prints = processes.gather_all(lambda: {name: data_fingerprint(data) for name, data in splits.items()})
    names = dict.fromkeys(name for part in prints for name in part)
    alike = [name for name in names if len({part.get(name) for part in prints}) == 1]
    notes += [
        f"{name} is not compared with the training data: the processes of the training hold different data for it"
        for name in names
        if name not in alike
    ]
    return {name: splits[name] for name in alike}, notes


def _splits_here(settings: TrainingSettings, host: Host) -> tuple[dict[str, Any], list[str]]:
    splits, notes = dict(settings.held_out), list[str]()
    collections, missing = host.held_out(splits)
    for split, loaders in collections.items():

        def add(key: str, loader: Any, split: str = split) -> Any:
            if not isinstance(loader, (list, tuple, dict)) or loader:  # empty: an old way to say that there is none
                _add(f"{split}/{key}" if key else split, loader, splits, notes)
            return loader

        host.map_loaders(loaders, add)
    return {name: data for name, data in splits.items() if len(data) > 0}, [*notes, *missing]


def _add(name: str, loader: Any, splits: dict[str, Any], notes: list[str]) -> None:
    try:
        check_map_style(data := data_of(loader))
        splits.setdefault(name, data)
        if sampled_indices(loader) is not None:
            notes.append(f"the sampler of {name} draws only {len(data)} samples: positions count among these")
    except DataError as error:
        notes.append(f"{name} is not compared with the training data: {error}")
