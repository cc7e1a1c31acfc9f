"""What each of three processes does in test_ranks.py: meets the others, alone as three and in groups of two."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.reader import ImageDataset, SampleReader
from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
from selfclean_hooks.embedding.embed import embed_distributed
from selfclean_hooks.utils.processes import Processes
from tests.helpers.embedding_data import Items, as_tensor, flat, mean_colour

READING = EmbeddingSettings(batch_size=2, progress=False)
GROUPS = {"three": (0, 1, 2), "first two": (0, 1), "last two": (1, 2)}


class PickyError(Exception):
    """Cannot be made again from its message alone."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} because {why}")


def run(rank: int, folder: Path) -> None:
    """All that one process sees, by group and name: (value, None) or (None, error)."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    seen: dict[str, dict[str, Any]] = {}
    for name, members in GROUPS.items():
        group = dist.new_group(list(members), backend="gloo")
        if rank in members:
            processes = Processes(members.index(rank), len(members), group)
            seen[name] = {title: reported(lambda: scene(processes, folder / name)) for title, scene in SCENES.items()}  # noqa: B023
    seen["here"] = {"processes": reported(here)}
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(seen))
    dist.destroy_process_group()


def here() -> tuple[int, int, timedelta]:
    """Rank, size and how long the group of an audit waits for a process that scores."""
    processes = Processes.here()
    return processes.rank, processes.size, processes.group._get_backend(torch.device("cpu")).options._timeout


def reported(scene: Callable[[], Any]) -> tuple[Any, tuple[str, str] | None]:
    try:
        return scene(), None
    except BaseException as error:  # an interrupt is one of the errors to be seen
        return None, (type(error).__name__, str(error))


def failing(processes: Processes, errors: dict[int, BaseException]) -> Callable[[], str]:
    """Work that raises in some processes. -1 is the last one."""

    def work() -> str:
        error = errors.get(processes.rank) or errors.get(processes.rank - processes.size)
        if error is not None:
            raise error
        return "done"

    return work


def counted(processes: Processes) -> list[int]:
    """Which processes do the work of `run_on_first`."""
    done: list[int] = []
    processes.run_on_first(lambda: done.append(processes.rank))
    return done


def traced(processes: Processes) -> bool:
    """Whether the process that fails gets its own error object, with its traceback, and not a copy."""
    own = OSError("with a traceback")
    try:
        processes.run_on_each(failing(processes, {0: own}))
    except OSError as error:
        return error is own and error.__traceback__ is not None
    return False


class Coloured(Items):
    """Images with copies: (copy, of) positions hold the same content."""

    def __init__(self, n: int, copies: dict[int, int], broken: tuple[int, ...] = (), make: Any = as_tensor) -> None:
        super().__init__(n, make, broken, size=4)
        for copy, of in copies.items():
            self.array[copy] = self.array[of]


def without_classes(image: Any, label: int) -> tuple[Tensor, float]:
    return as_tensor(image, label)[0], label + 0.5


def in_words(image: Any, label: int) -> tuple[Tensor, str]:
    return as_tensor(image, label)[0], ("cat", "dog")[label]


COPIES = {5: 2, 6: 5, 9: 0, 12: 1}
# name: data set, backbone, further arguments. Of each, what three and two processes find is what one finds.
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "odd number": (Coloured(13, {}), flat, {}),
    "copies across shares": (Coloured(13, COPIES), flat, {}),
    "colours": (Coloured(13, COPIES), mean_colour, {"reading": replace(READING, batch_size=1)}),
    "unreadable": (Coloured(13, COPIES, broken=(0, 2, 7, 12)), flat, {}),
    "the first copy unreadable": (Coloured(8, {3: 0, 4: 0}, broken=(0,)), flat, {}),
    "a whole share unreadable": (Coloured(12, {}, broken=(1, 3, 5, 7, 9, 11)), flat, {}),
    "the first share unreadable": (Coloured(12, {}, broken=(0, 3, 6, 9)), flat, {}),
    "fewer than processes": (Coloured(2, {}), flat, {}),
    "one sample": (Coloured(1, {}), flat, {"least": 1}),
    "no classes": (Coloured(7, {}, make=without_classes), flat, {}),
    "words": (Coloured(7, {}, make=in_words), flat, {}),
    "labels given": (Coloured(7, {}), flat, {"labels": np.arange(7) % 3}),
    "too few": (Coloured(1, {}), flat, {}),
    "nothing readable": (Coloured(4, {}, broken=(0, 1, 2, 3)), flat, {}),
    "labels of another length": (Coloured(7, {}), flat, {"labels": [0, 1]}),
}


def embedded(processes: Processes, case: str) -> Any:
    data, backbone, more = CASES[case]
    return embed_distributed(processes, data, backbone, **{"reading": READING, **more})


class Marked:
    """A backbone that tells who has embedded a sample: a rank is added to the pixels."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __call__(self, batch: Tensor) -> Tensor:
        return batch.flatten(1) + self.rank


def marked(processes: Processes) -> Any:
    return embed_distributed(processes, Coloured(13, COPIES), Marked(processes.rank), READING)


def on_one(processes: Processes, rank: int, change: Callable[[Tensor], Any]) -> Any:
    """A backbone that does something else in one process."""
    wrong = rank in (processes.rank, processes.rank - processes.size)
    backbone: Any = (lambda batch: change(flat(batch))) if wrong else flat
    return embed_distributed(processes, Coloured(13, {}), backbone, READING)


def fails(features: Tensor) -> Tensor:
    raise OSError("this device is broken")


def reads(processes: Processes) -> list[int]:
    """The positions that this process reads for the embedding."""
    read: list[int] = []
    own = SampleReader.__getitem__

    def noted(self: SampleReader, index: int) -> Any:
        read.append(index)
        return own(self, index)

    SampleReader.__getitem__ = noted  # type: ignore[method-assign]
    try:
        embedded(processes, "odd number")
    finally:
        SampleReader.__getitem__ = own  # type: ignore[method-assign]
    return read


class Counting(nn.Flatten):
    """Counts the samples it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.fed = 0

    def forward(self, batch: Tensor) -> Tensor:
        self.fed += len(batch)
        return super().forward(batch)


def cached(processes: Processes, folder: Path) -> list[Any]:
    """Samples fed in two runs with one cache, and what the first process gets of the second."""
    fed = []
    for _ in range(2):
        module = Counting()
        found = embed_distributed(processes, Coloured(13, COPIES), module, replace(READING, cache_dir=folder))
        fed.append(module.fed)
    files = len(list(folder.iterdir()))
    return [fed, files, found if found is None else found.vectors]


def own_weights(rank: int) -> nn.Module:
    """A model whose BatchNorm has seen other batches in each process, as it has in distributed training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 2))
    model.get_buffer("1.running_mean").add_(0.1 * rank)
    return model


def statistics_apart(processes: Processes) -> tuple[Any, bool]:
    """Embedded with a model that differs between the processes; and whether each has its own back."""
    model = own_weights(processes.rank)
    found = embed_distributed(processes, Coloured(13, {}), model, READING)
    same = all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), own_weights(processes.rank).state_dict().values(), strict=True)
    )
    return found, same


# All processes of a group go through these in order: a meeting that fails must not spoil those that follow.
SCENES: dict[str, Callable[[Processes, Path], Any]] = {
    "share": lambda processes, _: list(processes.share(7)),
    "is_first": lambda processes, _: processes.is_first,
    "each": lambda processes, _: processes.run_on_each(lambda: 10 * processes.rank),
    "every": lambda processes, _: processes.gather_all(lambda: 10 * processes.rank),
    "collect": lambda processes, _: processes.gather(lambda: np.full(3, processes.rank)),
    "once": lambda processes, _: processes.run_on_first(lambda: f"by {processes.rank}"),
    "who works in once": lambda processes, _: counted(processes),
    "each, one fails": lambda processes, _: processes.run_on_each(
        failing(processes, {-1: OSError("the disk is gone")})
    ),
    "every, one fails": lambda processes, _: processes.gather_all(failing(processes, {0: KeyError("no such key")})),
    "collect, one fails": lambda processes, _: processes.gather(failing(processes, {-1: OSError("the disk is gone")})),
    "once, the first fails": lambda processes, _: processes.run_on_first(
        failing(processes, {0: OSError("the disk is gone")})
    ),
    "each, all fail apart": lambda processes, _: processes.run_on_each(
        failing(processes, {0: OSError("a"), -1: KeyError("b")})
    ),
    "an interrupt": lambda processes, _: processes.run_on_each(failing(processes, {-1: KeyboardInterrupt()})),
    "an interrupt and an error": lambda processes, _: processes.run_on_each(
        failing(processes, {0: OSError("a"), -1: KeyboardInterrupt()})
    ),
    "an exit": lambda processes, _: processes.run_on_each(failing(processes, {0: SystemExit(3)})),
    "an error that cannot be copied": lambda processes, _: processes.run_on_each(
        failing(processes, {-1: PickyError("it fails", "it does")})
    ),
    "the same in once": lambda processes, _: processes.run_on_first(
        failing(processes, {0: PickyError("it fails", "it does")})
    ),
    "an error of a local class": lambda processes, _: processes.run_on_each(
        failing(processes, {0: type("Local", (OSError,), {})("nobody knows me")})
    ),
    "with its own traceback": lambda processes, _: traced(processes),
    **{f"embed: {case}": lambda processes, _, case=case: embedded(processes, case) for case in CASES},  # type: ignore[misc]
    "embed: marked": lambda processes, _: marked(processes),
    "embed: NaN in one": lambda processes, _: on_one(processes, -1, lambda features: features * np.nan),
    "embed: other width in one": lambda processes, _: on_one(processes, -1, lambda features: features[:, :3]),
    "embed: failure in one": lambda processes, _: on_one(processes, -1, fails),
    "embed: interrupt in one": lambda processes, _: on_one(processes, -1, interrupted),
    "reads": lambda processes, _: reads(processes),
    "cached": cached,
    "statistics apart": lambda processes, _: statistics_apart(processes),
    "resolve: failure in one": lambda processes, _: (
        resolve_distributed(processes, 3 if processes.rank == 1 else flat, ImageDataset(Items(12)), device="cpu").name
    ),
    "resolve: no checkpoint": lambda processes, _: (
        resolve_distributed(processes, __file__, ImageDataset(Items(12))).name
    ),
    "still in step": lambda processes, _: processes.gather_all(lambda: processes.rank),
}


def interrupted(features: Tensor) -> Tensor:
    raise KeyboardInterrupt
