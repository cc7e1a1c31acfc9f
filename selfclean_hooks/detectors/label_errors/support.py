"""How well each class fits each sample."""

from __future__ import annotations

from dataclasses import dataclass

from selfclean_hooks.utils.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LabelSupport:
    """Per sample M classes, the given label first, and the support for each.

    Supports are log probabilities up to a constant per row; classes that are not listed have next to none. `support`
    is that of the label that is given, `sharp` that of the right one: where a class is often given as another, the
    former expects the other, too.
    """

    classes: IntArray  # (N, M)
    support: FloatArray  # (N, M)
    sharp: FloatArray  # (N, M)
