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

from selfclean_hooks.core.settings import Reading
from selfclean_hooks.data.reader import Pictures, Reader
from selfclean_hooks.embedding.backbones.resolve import resolve_among
from selfclean_hooks.embedding.embed import embed_among
from selfclean_hooks.utils.processes import Ranks
from tests.helpers.embedding_data import Items, as_tensor, flat, mean_colour

READING = Reading(batch_size=2, progress=False)
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
            ranks = Ranks(members.index(rank), len(members), group)
            seen[name] = {title: told(lambda: scene(ranks, folder / name)) for title, scene in SCENES.items()}  # noqa: B023
    seen["here"] = {"ranks": told(here)}
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(seen))
    dist.destroy_process_group()


def here() -> tuple[int, int, timedelta]:
    """Rank, size and how long the group of an audit waits for a process that scores."""
    ranks = Ranks.here()
    return ranks.rank, ranks.size, ranks.group._get_backend(torch.device("cpu")).options._timeout


def told(scene: Callable[[], Any]) -> tuple[Any, tuple[str, str] | None]:
    try:
        return scene(), None
    except BaseException as error:  # an interrupt is one of the errors to be seen
        return None, (type(error).__name__, str(error))


def failing(ranks: Ranks, errors: dict[int, BaseException]) -> Callable[[], str]:
    """Work that raises in some processes. -1 is the last one."""

    def work() -> str:
        error = errors.get(ranks.rank) or errors.get(ranks.rank - ranks.size)
        if error is not None:
            raise error
        return "done"

    return work


def counted(ranks: Ranks) -> list[int]:
    """Which processes do the work of `once`."""
    done: list[int] = []
    ranks.once(lambda: done.append(ranks.rank))
    return done


def traced(ranks: Ranks) -> bool:
    """Whether the process that fails gets its own error object, with its traceback, and not a copy."""
    own = OSError("with a traceback")
    try:
        ranks.each(failing(ranks, {0: own}))
    except OSError as error:
        return error is own and error.__traceback__ is not None
    return False


class Coloured(Items):
    """Pictures with copies: (copy, of) positions hold the same content."""

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


def embedded(ranks: Ranks, case: str) -> Any:
    data, backbone, more = CASES[case]
    return embed_among(ranks, data, backbone, **{"reading": READING, **more})


class Marked:
    """A backbone that tells who has embedded a sample: a rank is added to the pixels."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __call__(self, batch: Tensor) -> Tensor:
        return batch.flatten(1) + self.rank


def marked(ranks: Ranks) -> Any:
    return embed_among(ranks, Coloured(13, COPIES), Marked(ranks.rank), READING)


def on_one(ranks: Ranks, rank: int, change: Callable[[Tensor], Any]) -> Any:
    """A backbone that does something else in one process."""
    wrong = rank in (ranks.rank, ranks.rank - ranks.size)
    backbone: Any = (lambda batch: change(flat(batch))) if wrong else flat
    return embed_among(ranks, Coloured(13, {}), backbone, READING)


def fails(features: Tensor) -> Tensor:
    raise OSError("this device is broken")


def reads(ranks: Ranks) -> list[int]:
    """The positions that this process reads for the embedding."""
    read: list[int] = []
    own = Reader.__getitem__

    def noted(self: Reader, index: int) -> Any:
        read.append(index)
        return own(self, index)

    Reader.__getitem__ = noted  # type: ignore[method-assign]
    try:
        embedded(ranks, "odd number")
    finally:
        Reader.__getitem__ = own  # type: ignore[method-assign]
    return read


class Counting(nn.Flatten):
    """Counts the samples it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.fed = 0

    def forward(self, batch: Tensor) -> Tensor:
        self.fed += len(batch)
        return super().forward(batch)


def cached(ranks: Ranks, folder: Path) -> list[Any]:
    """Samples fed in two runs with one cache, and what the first process gets of the second."""
    fed = []
    for _ in range(2):
        module = Counting()
        found = embed_among(ranks, Coloured(13, COPIES), module, replace(READING, cache_dir=folder))
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


def statistics_apart(ranks: Ranks) -> tuple[Any, bool]:
    """Embedded with a model that differs between the processes; and whether each has its own back."""
    model = own_weights(ranks.rank)
    found = embed_among(ranks, Coloured(13, {}), model, READING)
    same = all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), own_weights(ranks.rank).state_dict().values(), strict=True)
    )
    return found, same


# All processes of a group go through these in order: a meeting that fails must not spoil those that follow.
SCENES: dict[str, Callable[[Ranks, Path], Any]] = {
    "share": lambda ranks, _: list(ranks.share(7)),
    "is_first": lambda ranks, _: ranks.is_first,
    "each": lambda ranks, _: ranks.each(lambda: 10 * ranks.rank),
    "every": lambda ranks, _: ranks.every(lambda: 10 * ranks.rank),
    "collect": lambda ranks, _: ranks.collect(lambda: np.full(3, ranks.rank)),
    "once": lambda ranks, _: ranks.once(lambda: f"by {ranks.rank}"),
    "who works in once": lambda ranks, _: counted(ranks),
    "each, one fails": lambda ranks, _: ranks.each(failing(ranks, {-1: OSError("the disk is gone")})),
    "every, one fails": lambda ranks, _: ranks.every(failing(ranks, {0: KeyError("no such key")})),
    "collect, one fails": lambda ranks, _: ranks.collect(failing(ranks, {-1: OSError("the disk is gone")})),
    "once, the first fails": lambda ranks, _: ranks.once(failing(ranks, {0: OSError("the disk is gone")})),
    "each, all fail apart": lambda ranks, _: ranks.each(failing(ranks, {0: OSError("a"), -1: KeyError("b")})),
    "an interrupt": lambda ranks, _: ranks.each(failing(ranks, {-1: KeyboardInterrupt()})),
    "an interrupt and an error": lambda ranks, _: ranks.each(
        failing(ranks, {0: OSError("a"), -1: KeyboardInterrupt()})
    ),
    "an exit": lambda ranks, _: ranks.each(failing(ranks, {0: SystemExit(3)})),
    "an error that cannot be copied": lambda ranks, _: ranks.each(
        failing(ranks, {-1: PickyError("it fails", "it does")})
    ),
    "the same in once": lambda ranks, _: ranks.once(failing(ranks, {0: PickyError("it fails", "it does")})),
    "an error of a local class": lambda ranks, _: ranks.each(
        failing(ranks, {0: type("Local", (OSError,), {})("nobody knows me")})
    ),
    "with its own traceback": lambda ranks, _: traced(ranks),
    **{f"embed: {case}": lambda ranks, _, case=case: embedded(ranks, case) for case in CASES},  # type: ignore[misc]
    "embed: marked": lambda ranks, _: marked(ranks),
    "embed: NaN in one": lambda ranks, _: on_one(ranks, -1, lambda features: features * np.nan),
    "embed: other width in one": lambda ranks, _: on_one(ranks, -1, lambda features: features[:, :3]),
    "embed: failure in one": lambda ranks, _: on_one(ranks, -1, fails),
    "embed: interrupt in one": lambda ranks, _: on_one(ranks, -1, interrupted),
    "reads": lambda ranks, _: reads(ranks),
    "cached": cached,
    "statistics apart": lambda ranks, _: statistics_apart(ranks),
    "resolve: failure in one": lambda ranks, _: (
        resolve_among(ranks, 3 if ranks.rank == 1 else flat, Pictures(Items(12)), device="cpu").name
    ),
    "resolve: no checkpoint": lambda ranks, _: resolve_among(ranks, __file__, Pictures(Items(12))).name,
    "still in step": lambda ranks, _: ranks.every(lambda: ranks.rank),
}


def interrupted(features: Tensor) -> Tensor:
    raise KeyboardInterrupt
