"""Batches of samples: read by worker processes where these can be had, and by this process where they cannot."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset, get_worker_info

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.reader import Batch, Sample, SampleReader, batch_of
from selfclean_hooks.errors import DataError, DataWarning
from selfclean_hooks.utils.patience import overdue, progressed, timeout_in_force, waiting
from selfclean_hooks.utils.torch_internals import end_workers

END = object()


class NotSentError(RuntimeError):
    """A batch cannot be handed from a worker to the process that it works for."""


class WorkersLostError(Exception):
    """Workers cannot be started, or cannot send what they read: the rest can be read without them."""


class Parcel:
    """A batch as a worker sends it: pickled by the worker itself, so that what fails there is raised here.

    A queue pickles in a thread of its own, where an error is printed and the batch is lost: one would wait for ever.
    """

    def __init__(self, batch: Batch) -> None:
        """Tensors move to shared memory."""
        try:
            self.content = bytes(ForkingPickler.dumps(batch))
        except Exception as error:  # whatever an item's own __reduce__ raises; shared memory that is full
            raise NotSentError(f"{type(error).__name__}: {error}") from error

    def opened(self) -> Batch:
        """The batch."""
        batch: Batch = pickle.loads(self.content)
        return batch

    def pin_memory(self) -> Batch:
        """The batch, pinned; the DataLoader asks for it."""
        return self.opened().pin_memory()


def read_batches(
    reader: SampleReader,
    reading: EmbeddingSettings,
    share: Sequence[int],
    notes: list[str],
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """The samples at the positions of `share`, in order.

    Args:
        reader: what is read.
        reading: how.
        share: positions.
        notes: where it is noted that workers were asked for and cannot be had, from the start or on the way.
        device: where the batches go; for CUDA they are put in pinned memory.

    Raises:
        DataError: a sample or a worker does not answer, or a worker ended.
    """
    for batch in _read(reader, reading, share, notes, device):
        progressed()
        yield batch


def _read(
    reader: SampleReader,
    reading: EmbeddingSettings,
    share: Sequence[int],
    notes: list[str],
    device: torch.device | None,
) -> Iterator[Batch]:
    done, workers = 0, int(reading.num_workers)
    why = _why_not_sent(reader, reading) if workers else ""
    if why:
        notes.append(why)
    elif workers:
        try:
            for batch in _by_workers(reader, reading, share, device):
                done += len(batch.samples)
                yield batch
            return
        except WorkersLostError as error:
            if reading.worker_options.get("worker_init_fn") is not None:  # it may open what items are read from
                raise DataError(f"worker processes are needed for worker_init_fn, and {error}") from error
            notes.append(f"{error}, so from index {share[done]} on it is read without workers")
            warnings.warn(notes[-1], DataWarning, stacklevel=2)
    size = int(reading.batch_size)
    for at in range(done, len(share), size):
        batch = batch_of([reader[index] for index in share[at : at + size]])
        yield batch.pin_memory() if _is_cuda(device) else batch


def _by_workers(
    reader: SampleReader, reading: EmbeddingSettings, share: Sequence[int], device: torch.device | None
) -> Iterator[Batch]:
    timeout = timeout_in_force() or reading.worker_options.get("timeout") or 0
    reader.current, done = _shared(int(reading.num_workers)), 0
    try:
        iterator = iter(_loader(reader, reading, share, device, timeout))
    except (OSError, RuntimeError) as error:
        raise WorkersLostError(f"worker processes cannot be started ({error})") from error

    def where() -> str:
        return _where(reader, share[done : done + int(reading.batch_size)])

    def explain(error: Exception) -> Exception:
        end_workers(iterator)  # or torch would raise for one that was killed wherever we are by then
        return _explained(error, reader, where(), timeout)

    while True:
        try:
            with waiting(where):
                batch: Any = next(iterator, END)
                opened: Any = batch.opened() if isinstance(batch, Parcel) else batch
        except Exception as error:
            try:
                explained = explain(error)
            except RuntimeError as ended:  # torch's signal handler, in the lines above
                explained = explain(ended)
            raise explained from error
        if batch is END:
            return
        done += len(opened.samples)
        yield opened


def _loader(
    reader: SampleReader,
    reading: EmbeddingSettings,
    share: Sequence[int],
    device: torch.device | None,
    timeout: float,
) -> DataLoader[Any]:
    options = dict(reading.worker_options)
    init, kind = options.pop("worker_init_fn", None), options.pop("dataset_type", None)
    if reading.num_workers:
        options["multiprocessing_context"] = _context(reading)
    return DataLoader(
        reader,
        int(reading.batch_size),
        sampler=share,
        num_workers=int(reading.num_workers),
        collate_fn=_packed,
        pin_memory=_is_cuda(device),
        generator=torch.Generator().manual_seed(int(reading.seed)),  # else the loader draws from the global one
        worker_init_fn=partial(_start, init, kind),
        **{**options, "timeout": timeout},
    )


def _packed(read: list[tuple[Sample, Any]]) -> Parcel:
    return Parcel(batch_of(read))


def _start(init: Callable[[int], Any] | None, kind: type | None, number: int) -> None:
    """In a worker: code of the user's finds the data set that it knows, not what reads it."""
    info: Any = get_worker_info()
    dataset = info.dataset.dataset
    dataset = getattr(dataset, "dataset", dataset)  # of what keeps the first items
    while type(dataset) is Subset and kind not in (None, Subset):
        dataset = dataset.dataset
    object.__setattr__(info, "dataset", dataset)  # by whatever means the class refuses changes
    if init is not None:
        init(number)


def _shared(workers: int) -> torch.Tensor | None:
    """(W,) the index that each worker reads, in shared memory; None where there is none left."""
    try:
        shared: torch.Tensor = torch.full((workers,), -1, dtype=torch.int64, device="cpu").share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return None
    return shared


def _where(reader: SampleReader, batch: Sequence[int]) -> str:
    """What is waited for, of the positions of a batch: the one that a worker is at, as far as known."""
    at = [] if reader.current is None else [int(index) for index in reader.current if int(index) in batch]
    return f"index {at[0]}" if at else f"index {batch[0]} to {batch[-1]}" if len(batch) else "the end of the data set"


def _explained(error: Exception, reader: SampleReader, where: str, timeout: float) -> Exception:
    text = str(error).strip() or type(error).__name__
    last = text.splitlines()[-1]
    if isinstance(error, NotSentError):
        return WorkersLostError(f"a worker cannot send what it reads ({last.partition('NotSentError: ')[2] or last})")
    if "shared memory" in text:  # killed by the system as it wrote there
        return WorkersLostError(f"a worker ended for lack of shared memory ({text.splitlines()[0]})")
    if "timed out" in text:
        return DataError(overdue(where, timeout))
    ended = isinstance(error, (ConnectionError, EOFError)) or "exited unexpectedly" in text or "killed" in text
    if reader.current is not None and ended:
        at = " or ".join(str(int(index)) for index in reader.current if index >= 0) or "the first"
        return DataError(f"a worker process ended while index {at} was read: {last}. num_workers=0 reads without them")
    return DataError(f"a worker process failed at {where}: {last}. Read without workers (num_workers=0) to see more")


def _is_cuda(device: torch.device | None) -> bool:
    return device is not None and device.type == "cuda"


def _why_not_sent(reader: SampleReader, reading: EmbeddingSettings) -> str:
    """Why the data set cannot be sent to workers that are not forked, or ""."""
    if _context(reading).get_start_method() == "fork":
        return ""
    try:
        pickle.dumps((reader, reading.worker_options.get("worker_init_fn")))
    except Exception as error:  # pickle raises whatever an object's own __reduce__ does
        return f"the data set cannot be sent to worker processes ({error}): it is read without workers"
    return ""


def _context(reading: EmbeddingSettings) -> Any:
    """How worker processes are started: as settings or user say, else the usual way, which stays the user's to choose.

    To ask Python for the usual way would settle it: `multiprocessing.set_start_method` raises afterwards.
    """
    context = reading.worker_options.get("multiprocessing_context") or multiprocessing.get_start_method(allow_none=True)
    context = context or multiprocessing.get_all_start_methods()[0]
    return multiprocessing.get_context(context) if isinstance(context, str) else context
