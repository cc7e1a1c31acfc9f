"""Scores of the same vectors are computed once, for tests of what is made of them.

Scores depend on what `score` is given and on nothing else, which tests/detectors and tests/utils show; most trainings
of the tests have the same few data, and half of an audit of these is their scores.
"""

import os
import pickle
import sys
from collections.abc import Iterable
from typing import Any

from selfclean_hooks.detectors import methods
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.screening.device import device

PACKAGES = ("selfclean_hooks.detectors", "selfclean_hooks.neighbors")


class ScoredOnce:
    """`score`, which computes anew where code that scores is replaced, in another process and in another search."""

    def __init__(self) -> None:
        self.anew = methods.score
        self.process = os.getpid()
        self.imported, self.modules = 0, dict[str, Any]()
        self.code = {name: dict(vars(module)) for name, module in self._modules()}
        self.scores: dict[bytes, bytes] = {}
        self.ticks: dict[bytes, list[tuple[int, int]]] = {}

    def __call__(self, *vectors: Any, tick: Any = None, search: Any = nearest_neighbors, **settings: Any) -> Any:
        if search is not nearest_neighbors or os.getpid() != self.process or self._is_replaced():
            return self.anew(*vectors, tick=tick, search=search, **settings)
        key = pickle.dumps((vectors, settings, device()))
        if key not in self.scores:
            ticks: list[tuple[int, int]] = []
            scores = self.anew(*vectors, tick=lambda *done: ticks.append(done), **settings)
            self.scores[key], self.ticks[key] = pickle.dumps(scores), ticks
        for done in self.ticks[key] if tick is not None else ():
            tick(*done)
        return pickle.loads(self.scores[key])

    def _is_replaced(self) -> bool:
        for name, module in self._modules():
            now, before = vars(module), self.code.setdefault(name, dict(vars(module)))
            if any(now.get(part) is not value and now.get(part) is not self for part, value in before.items()):
                return True
        return False

    def _modules(self) -> Iterable[tuple[str, Any]]:
        """Of the packages; looked for among the thousands that are imported only where there are others."""
        if len(sys.modules) != self.imported:
            self.modules = {name: module for name, module in list(sys.modules.items()) if name.startswith(PACKAGES)}
            self.imported = len(sys.modules)
        return self.modules.items()
