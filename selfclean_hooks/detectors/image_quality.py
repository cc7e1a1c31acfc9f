"""Image quality: what is poor by itself and beside the other images, each aspect on a scale of its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.scores import Scores
from selfclean_hooks.utils.arrays import FloatArray

ISSUE = "image_quality"
AUTOMATIC = 0.5
# Where an image is poor by itself: lightest and darkest hundredth, sharpness, contrast; side and shape over the usual.
POOR = np.array([0.25, 0.25, 0.2, 0.03, 1 / 3, 1 / 3])
FLOOR = 1 / 256  # of the first four: what 8 bits can show
SPREADS = 4.0  # beyond which an image is unlike the others
LEAST_SPREAD = 0.1  # of logarithms, where all but a few images are alike


def aspect_scores(statistics: NDArray[np.floating]) -> FloatArray:
    """Scores of each aspect of image quality, in [0, 1], low = worse.

    A statistic x (of size and shape: the part that it is of the median, or the median of it) scores x / (x + T). T is
    the lower of two bounds: what is poor by itself, and what is unlike the other images: the median of log x less four
    spreads (1.4826 times the median absolute deviation). So a score below 1/2 is both.

    Args:
        statistics: (N, 6) of `image_statistics`, NaN where there is none.

    Returns:
        (N, 6): dark, bright, blurry, blank, odd size, odd shape; NaN where the statistic is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns without a number, whose scores are NaN
        apart = -np.abs(statistics[:, 4:] - np.nanmedian(statistics[:, 4:], axis=0))
        x = np.hstack([np.log(np.maximum(statistics[:, :4], FLOOR)), apart]).astype(np.float64)
        usual = np.append(np.nanmedian(x[:, :4], axis=0), [0, 0])
        spread = np.maximum(1.4826 * np.nanmedian(np.abs(x - usual), axis=0), LEAST_SPREAD)
    bound = np.minimum(np.log(POOR), usual - SPREADS * spread)
    scores: FloatArray = 1 / (1 + np.exp(bound - x))
    return scores


def with_image_quality(scores: Scores, statistics: NDArray[np.floating] | None) -> Scores:
    """The scores with the issue "image_quality", where it was measured."""
    if statistics is None:
        return scores
    aspects = aspect_scores(statistics)
    measured = ~np.isnan(aspects).all(1)
    lowest = np.full(len(aspects), np.nan)
    lowest[measured] = np.nanmin(aspects[measured], axis=1)
    automatic: Mapping[str, float] = {**scores.automatic, ISSUE: AUTOMATIC}
    extra, of_issue = {**scores.extra, ISSUE: lowest}, {**scores.aspects, ISSUE: aspects}
    return replace(scores, extra=extra, aspects=of_issue, automatic=automatic)
