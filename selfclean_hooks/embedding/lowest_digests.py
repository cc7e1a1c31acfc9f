"""Contents of some samples, chosen by their digests and kept while all are read."""

from __future__ import annotations

from bisect import insort
from typing import Any

from torch import Tensor

from selfclean_hooks.data.views.cached_dataset import nbytes

MAX_BYTES = 1 << 28  # of contents kept


class LowestDigests:
    """Contents of the samples with the lowest digests, which `chosen` compares with random weights after the pass.

    Args:
        at_most: How many contents; fewer where they are more than `MAX_BYTES` together.

    Attributes:
        contents: By digest.
    """

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self.contents: dict[str, Any] = {}
        self._order: list[str] = []
        self._bytes = 0

    def add(self, digest: str, content: Any) -> None:
        """Keep the content of a sample if its digest is among the lowest so far."""
        full = len(self._order) >= self.at_most
        if digest in self.contents or (full and (not self._order or digest > self._order[-1])):
            return
        insort(self._order, digest)
        self.contents[digest] = content.clone() if isinstance(content, Tensor) else content  # not the whole batch
        self._bytes += nbytes(content)
        while len(self._order) > self.at_most or self._bytes > MAX_BYTES:
            self._bytes -= nbytes(self.contents.pop(self._order.pop()))
