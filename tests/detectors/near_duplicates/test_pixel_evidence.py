"""Pixels beside the network: alignment against a loop, and what images change about near duplicates."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from selfclean_hooks import audit, audit_embeddings, audit_splits
from selfclean_hooks.core.scores import Scores
from selfclean_hooks.data.images import miniature
from selfclean_hooks.detectors.image_view import reduced
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.detectors.near_duplicates.residuals import (
    FLAT,
    LEAST,
    MIRRORED,
    SHIFTED,
    aligned_residuals,
)
from selfclean_hooks.errors import DataError

Images = NDArray[np.uint8]


def scenes(n: int, size: int = 48, seed: int = 0) -> Images:
    """(N, size, size, 3) smooth colours with a few shapes, no two alike."""
    rng = np.random.default_rng(seed)
    ground = ndimage.zoom(rng.uniform(0, 255, (n, 5, 5, 3)), (1, size / 5, size / 5, 1), order=1)
    detail = ndimage.zoom(rng.normal(0, 25, (n, 12, 12, 1)), (1, size / 12, size / 12, 1), order=0)
    return np.asarray((ground + detail).clip(0, 255), np.uint8)


def small(images: Images) -> Images:
    found = [miniature(Image.fromarray(image)) for image in images]
    assert all(each is not None for each in found)
    return np.stack([each for each in found if each is not None])


def features(images: Images, seed: int = 0) -> NDArray[np.float32]:
    """A network that hardly sees what images are of, and not whether they are mirrored: of mean colours."""
    rng = np.random.default_rng(seed)
    images = np.asarray(images + np.asarray(images[:, :, ::-1], np.float64))
    means = images.reshape(len(images), 4, -1, 4, images.shape[2] // 4, 3).mean((2, 4)).reshape(len(images), -1)
    return np.asarray((means - means.mean(0)) @ rng.normal(size=(48, 32)), np.float32)


def correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    a, b = one - one.mean((0, 1)), other - other.mean((0, 1))
    return float((a * b).sum() / np.sqrt((a * a).sum() + FLAT) / np.sqrt((b * b).sum() + FLAT))


def slow_upper_bound(one: Images, other: Images) -> tuple[float, float]:
    """Plain and mirrored residual, from the darker image's shifts and mirror image alone."""
    a, b = sorted((one / 255, other / 255), key=np.sum)
    halves = [image.reshape(8, 2, 8, 2, 3).mean((1, 3)) for image in (a, b)]
    coarse = min(1 - correlation(*halves), MIRRORED * (1 - correlation(halves[0][:, ::-1], halves[1])))
    shifts = [1 - correlation(a[y : y + 14, x : x + 14], b[1:15, 1:15]) for y in range(3) for x in range(3)]
    fine, turned = min(1 - correlation(a, b), SHIFTED * min(shifts)), MIRRORED * (1 - correlation(a[:, ::-1], b))
    low = [np.sqrt(max(part, LEAST) * max(coarse, LEAST)) for part in (fine, turned)]
    return float(low[0]), float(low[1])


def test_residuals_are_at_most_those_of_a_loop_over_shifts_and_mirror_images() -> None:
    tiny = reduced(small(scenes(40)))
    pairs = np.stack(np.triu_indices(40, 1), 1)
    residual, mirrored = aligned_residuals(tiny, pairs)
    slow = np.array([slow_upper_bound(tiny[i], tiny[j]) for i, j in pairs])
    assert (residual <= slow.min(1) * (1 + 1e-3) + 1e-5).all()
    np.testing.assert_allclose(residual[mirrored], slow[mirrored, 1], rtol=1e-3, atol=1e-5)
    turned_or_zoomed = residual < slow.min(1) * (1 - 1e-3)
    assert turned_or_zoomed.mean() < 0.5  # most come from the loop's own attempts
    np.testing.assert_allclose(
        residual[~turned_or_zoomed & ~mirrored], slow[~turned_or_zoomed & ~mirrored, 0], rtol=2e-3, atol=1e-5
    )


def test_residuals_do_not_depend_on_order_or_on_what_else_is_compared() -> None:
    tiny, rng = small(scenes(300, seed=1)), np.random.default_rng(0)
    pairs = rng.integers(300, size=(4000, 2))
    pairs[:500, 0] = 7  # many with one image
    residual, mirrored = aligned_residuals(tiny, pairs)
    swapped, again = aligned_residuals(tiny, pairs[:, ::-1])
    np.testing.assert_allclose(swapped, residual, rtol=1e-4, atol=1e-6)
    assert (again == mirrored).mean() > 0.999
    alone = np.concatenate([aligned_residuals(tiny, pair[None])[0] for pair in pairs[480:520]])
    np.testing.assert_allclose(alone, residual[480:520], rtol=1e-4, atol=1e-6)


def shifted(image: Images) -> Images:
    return np.asarray(ndimage.shift(image, (2, -3, 0), order=1, mode="nearest"), np.uint8)


def turned(image: Images) -> Images:
    return np.asarray(ndimage.rotate(image, 6, reshape=False, order=1, mode="nearest"), np.uint8)


def cropped(image: Images) -> Images:
    return np.asarray(Image.fromarray(image[3:45, 3:45]).resize((48, 48), Image.Resampling.BILINEAR))


def brightened(image: Images) -> Images:
    return np.asarray((image * 0.85 + 10).clip(0, 255), np.uint8)


def mirror_image(image: Images) -> Images:
    return np.ascontiguousarray(image[:, ::-1])


COPIES = {"shift": shifted, "turn": turned, "crop": cropped, "brightness": brightened, "mirror": mirror_image}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_nearer_in_its_pixels_than_anything_else(kind: str) -> None:
    images = scenes(60, seed=2)
    tiny = small(np.concatenate([images, np.stack([COPIES[kind](image) for image in images])]))
    rows = np.repeat(np.arange(60), 120)
    pairs = np.stack([rows, np.tile(np.arange(120), 60)], 1)
    residual, mirrored = aligned_residuals(tiny, pairs)
    residual = residual.reshape(60, 120)
    residual[np.arange(60), np.arange(60)] = 9
    assert (residual.argmin(1) == 60 + np.arange(60)).mean() >= 0.95
    found = mirrored.reshape(60, 120)[np.arange(60), 60 + np.arange(60)]
    assert found.all() if kind == "mirror" else not found.any()


def scored(images: Images) -> Scores:
    return score(features(images), None, miniatures=small(images))


def encoded(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(
    ("singles", "sizes"), [(0, [5] * 60), (120, [2] * 40 + [9] * 8), (30, [140]), (60, [35, 45, 40])]
)
def test_images_saved_again_are_copies_though_the_network_takes_them_for_others(singles: int, sizes: list[int]) -> None:
    rng, originals = np.random.default_rng(len(sizes)), scenes(singles + len(sizes), seed=9)
    which = np.repeat(np.arange(len(originals)), [1] * singles + sizes)
    images = np.stack([encoded(originals[i], int(rng.integers(50, 95))) for i in which])
    seen = features(originals)
    unlike = 0.3 * seen.std() * rng.normal(size=(len(which), 1)) * rng.normal(size=(len(which), seen.shape[1]))
    audit = audit_embeddings(seen[which] + unlike, images=list(images))
    surplus, row = len(which) - len(originals), audit.calibration.set_index("issue").loc["near_duplicates"]
    assert audit.decisions.surplus.sum() == pytest.approx(surplus, rel=0.05)
    assert row["estimated"] == pytest.approx(surplus, rel=0.1)


@pytest.mark.parametrize("copies", [15, 25])
def test_many_copies_that_the_network_scatters_are_right_flags(copies: int) -> None:
    images = [*scenes(1, seed=5).repeat(copies, 0), *scenes(25, seed=6)]
    audit = audit_embeddings(np.random.default_rng(copies).normal(size=(len(images), 8)), images=images)
    row = audit.calibration.set_index("issue").loc["near_duplicates"]
    assert audit.decisions.surplus[:copies].sum() >= 0.9 * (copies - 1)
    assert row["precision"] > 0.9
    assert row["estimated"] == pytest.approx(copies - 1, rel=0.15)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_that_the_network_hardly_sees_are_found_by_their_pixels(kind: str) -> None:
    images = scenes(250, seed=3)
    copies = np.stack([COPIES[kind](image) for image in images[:20]])
    both = np.concatenate([images, copies])
    with_pixels, without = scored(both), score(features(both), None)
    planted = {(i, 250 + i) for i in range(20)}

    def recall(scores: Scores) -> float:
        worst = {tuple(pair) for pair in scores.pair_index[:20].tolist()}
        return len(worst & planted) / 20

    assert recall(with_pixels) >= max(0.9, recall(without))
    flagged = with_pixels.near_duplicate < with_pixels.automatic["near_duplicates"]
    assert flagged[:20].mean() >= 0.8
    assert flagged[20:250].mean() <= 0.025


def test_like_images_of_different_things_are_no_copies_though_the_network_sees_none_between() -> None:
    images, objects = scenes(300, seed=4), np.arange(300) % 60
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 64))[objects] + 0.25 * rng.normal(size=(300, 64))
    scores = score(vectors.astype(np.float32), None, miniatures=small(images))
    assert (scores.near_duplicate < scores.automatic["near_duplicates"]).mean() <= 0.02


def test_a_mirrored_copy_is_called_so() -> None:
    images = [Image.fromarray(image) for image in scenes(60, seed=5)]
    images += [images[3].transpose(Image.Transpose.FLIP_LEFT_RIGHT)]

    def backbone(batch: list[Image.Image]) -> NDArray[np.float32]:
        return features(np.stack([np.asarray(image) for image in batch]))

    found = audit([(image, -1) for image in images], backbone, progress=False)
    assert "mirrored near duplicate of 3" in found.frame["reason"][60]
    assert bool(found.pairs["is_mirrored"][0])


def test_leakage_of_what_the_network_hardly_sees() -> None:
    images = scenes(300, seed=6)
    held_out = np.concatenate([scenes(40, seed=7), np.stack([turned(image) for image in images[:10]])])

    def backbone(batch: list[Image.Image]) -> NDArray[np.float32]:
        return features(np.stack([np.asarray(image) for image in batch]))

    splits = {"train": images, "test": held_out}
    found = audit_splits(
        {name: [(Image.fromarray(image), 0) for image in part] for name, part in splits.items()},
        backbone,
        progress=False,
    )
    leaks = found.audits["train"].scores.leaks
    assert leaks is not None
    worst = {(int(i), int(j)) for i, j in zip(leaks.index[:10], leaks.other_index[:10], strict=True)}
    assert len(worst & {(i, 40 + i) for i in range(10)}) >= 9


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_images_of_any_mode_have_a_miniature(mode: str) -> None:
    image = Image.fromarray(scenes(1)[0]).convert(mode if mode not in ("I;16", "F") else "L").convert(mode)
    made = miniature(image)
    assert made is not None
    assert made.shape == (32, 32, 3)
    assert made.dtype == np.uint8


def test_what_is_no_image_has_no_miniature() -> None:
    assert miniature("text") is None
    assert miniature(np.zeros(7)) is None
    assert miniature({"a": 1}) is None


def test_embeddings_may_come_with_their_images() -> None:
    images = scenes(120, seed=8)
    images = np.concatenate([images, np.stack([turned(image) for image in images[:4]])])
    plain, seen = audit_embeddings(features(images)), audit_embeddings(features(images), images=list(images))
    assert plain.scores.mirrored is None
    assert {tuple(pair) for pair in seen.scores.pair_index[:4].tolist()} == {(i, 120 + i) for i in range(4)}
    with pytest.raises(DataError, match="as many as the vectors"):
        audit_embeddings(features(images), images=list(images[:5]))
    with pytest.raises(DataError, match="got str at index 2"):
        audit_embeddings(features(images), images=[*images[:2], "a.png", *images[3:]])


@pytest.mark.parametrize("copied", [0, 4, 40])
def test_estimates_hold_the_truth_where_images_are_copied(copied: int) -> None:
    rng = np.random.default_rng(copied)
    images = scenes(400, seed=9)
    kinds = list(COPIES.values())
    copies = [kinds[rng.integers(len(kinds))](image) for image in images[:copied]]
    both = np.concatenate([images, np.stack(copies)]) if copied else images
    scores = scored(both)
    estimated, low, high = scores.calibration["near_duplicates"].estimate_count(scores.near_duplicate)
    assert low <= estimated <= high
    assert low <= 2 * copied <= high


def test_a_copy_that_a_network_takes_for_something_else_is_not_off_topic() -> None:
    images = scenes(90, seed=4)
    vectors = np.random.default_rng(4).normal(0, 0.6, (96, 24)) + np.eye(24)[0] * 4
    saved = [np.asarray(Image.open(_jpeg(image))) for image in images[:3]]
    aliens = np.random.default_rng(5).integers(0, 255, (3, *images.shape[1:]), np.uint8)
    vectors[90:] = np.random.default_rng(6).normal(0, 2, (6, 24)) - np.eye(24)[0] * 4  # of the copies and of the noise
    shown = np.concatenate([images, saved, aliens])
    seen, blind = (audit_embeddings(vectors, images=given).scores.off_topic for given in (list(shown), None))
    assert set(np.argsort(blind)[:6]) == {90, 91, 92, 93, 94, 95}
    assert set(np.argsort(seen)[:3]) == {93, 94, 95}
    assert (seen[90:93] == seen[:3]).all()


def _jpeg(image: Images) -> BytesIO:
    Image.fromarray(image).save(content := BytesIO(), "jpeg", quality=70)
    return content
