"""Memory that a process did not have before, whatever it has freed and keeps."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def new_memory(size: int) -> Iterator[None]:
    """So many bytes from the kernel, each page of them written, for as long as the block takes."""
    with mmap.mmap(-1, size) as held:
        for start in range(0, size, mmap.PAGESIZE):
            held[start] = 1
        yield
