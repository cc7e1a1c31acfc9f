"""An audit with images, for tests of what shows it."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.core.scores import LeakPairs

N = 120


def png(image: Image.Image) -> bytes:
    """Exactly as it is: tests read positions off colours."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def colour(i: int) -> tuple[int, int, int]:
    """Of the image of a sample."""
    return i, 255 - i, 77


def with_images(names: tuple[str, ...] | None = ("cat", "dog", "owl"), **changes: Any) -> Audit:
    """Three classes with wrong labels, an off-topic sample and copies; every image is of one colour."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    vectors = (np.eye(12)[labels] * 3 + rng.normal(size=(N, 12))).astype(np.float32)
    vectors[1] = vectors[2] = vectors[0]
    labels[[1, 2]] = labels[0]
    labels[[30, 40, 50]] = (labels[[30, 40, 50]] + 1) % 3
    vectors[60] = -4 * np.sign(vectors.mean(0))  # plainly apart
    audit = audit_embeddings(vectors, labels)
    images = {i: png(Image.new("RGB", (24, 24), colour(i))) for i in range(N)}
    changed = replace(audit, thumbnails=images, scores=replace(audit.scores, class_names=names))
    return replace(changed, **changes)


def leaking(**changes: Any) -> Audit:
    """The same with two samples that another split holds too."""
    audit = with_images()
    index, other = np.array([5, 6, 7]), np.array([1, 1, 1])
    leaks = LeakPairs(("train", "val"), (N, 9), other, index, np.array([3, 4, 5]), np.array([0, 0.01, 0.9], np.float32))
    leaks = replace(leaks, automatic=0.1)
    images = {("val", i): png(Image.new("RGB", (24, 24), (0, 0, 200 + i))) for i in (3, 4, 5)}
    found = replace(audit, scores=replace(audit.scores, leaks=leaks), leak_thumbnails=images)
    return replace(found, **changes)
