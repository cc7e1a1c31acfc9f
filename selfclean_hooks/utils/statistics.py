"""Confidence intervals of fractions."""

from __future__ import annotations

import math

CONFIDENCE = 1.959964  # standard deviations on either side of a normal that hold 95%


def wilson(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion: where the share in all data like these may lie.

    Unlike the normal approximation it stays in [0, 1] and says something where count is 0.

    Args:
        count: hits, 0 to n.
        n: samples, at least 1.
    """
    z = CONFIDENCE
    share, room = count / n, z * z / n
    middle, half = share + room / 2, z * math.sqrt(share * (1 - share) / n + room / (4 * n))
    low, high = (middle - half) / (1 + room), (middle + half) / (1 + room)
    return low if count > 0 else 0.0, high if count < n else 1.0
