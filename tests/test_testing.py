from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.testing import Contaminated, contaminate, digits, off_topic_patches, write_image_folder


@pytest.fixture(scope="module")
def made() -> Contaminated:
    images, labels = digits()
    return contaminate(images, labels, off_topic_patches(200, 8), off_topic=0.1, seed=3)


def test_the_counts_are_fractions_of_the_clean_samples(made: Contaminated) -> None:
    assert made.images.shape == (1797 + 90 + 180, 8, 8)
    assert made.images.dtype == np.uint8
    assert made.labels.dtype == made.true_labels.dtype == made.duplicate_pairs.dtype == np.int64
    assert made.duplicate_pairs.shape == (90, 2)
    assert made.is_off_topic.sum() == 180
    assert made.is_label_error.sum() == 90


def test_wrong_labels_are_exactly_the_flipped_ones(made: Contaminated) -> None:
    wrong = (made.labels != made.true_labels) & ~made.is_off_topic
    np.testing.assert_array_equal(wrong, made.is_label_error)
    np.testing.assert_array_equal(made.true_labels == -1, made.is_off_topic)
    assert set(made.labels) == set(range(10))


def test_pairs_are_a_sample_and_a_slightly_changed_copy(made: Contaminated) -> None:
    first, second = made.duplicate_pairs.T
    assert (first < second).all()
    assert len(set(made.duplicate_pairs.ravel())) == made.duplicate_pairs.size
    np.testing.assert_array_equal(made.labels[first], made.labels[second])
    assert not made.is_label_error[made.duplicate_pairs].any()
    assert not made.is_off_topic[made.duplicate_pairs].any()
    flat = made.images.reshape(len(made.images), -1).astype(float)
    to_copy = np.linalg.norm(flat[first] - flat[second], axis=1)
    assert (to_copy > 0).all()
    assert np.median(to_copy) < np.median(cdist(flat[first], flat))


def test_off_topic_samples_come_from_the_pool_and_clean_ones_from_the_data(made: Contaminated) -> None:
    pool = {patch.tobytes() for patch in off_topic_patches(200, 8)}
    assert {image.tobytes() for image in made.images[made.is_off_topic]} <= pool
    clean = {image.tobytes() for image in digits()[0]}
    copies = sum(image.tobytes() not in clean for image in made.images[~made.is_off_topic])
    assert copies == len(made.duplicate_pairs)


def global_state() -> Any:
    state: Any = np.random.get_state()  # noqa: NPY002 - the global generator is what is checked
    return state[1].copy()


def test_a_seed_repeats_and_leaves_the_global_generator_and_the_input_alone() -> None:
    images, labels = digits()
    before, state = images.copy(), global_state()
    one, same, other = (contaminate(images, labels, off_topic_patches(100, 8), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.images, same.images)
    np.testing.assert_array_equal(one.duplicate_pairs, same.duplicate_pairs)
    assert not np.array_equal(one.images, other.images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(state, global_state())


def test_flips_are_spread_over_all_other_classes() -> None:
    images = np.zeros((3000, 2, 2), np.uint8)
    labels = np.tile([2, 5, 9], 1000)
    made = contaminate(images, labels, images[:0], near_duplicates=0, off_topic=0, label_errors=1.0)
    for true in (2, 5, 9):
        counts = np.unique(made.labels[made.true_labels == true], return_counts=True)
        assert len(counts[0]) == 2
        assert true not in counts[0]
        assert counts[1].min() > 400


def test_colour_images_and_nothing_to_add() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), np.uint8)
    labels = np.arange(20) % 2
    made = contaminate(images, labels, images[:0], near_duplicates=0.5, off_topic=0, label_errors=0)
    assert made.images.shape == (30, 6, 6, 3)
    none = contaminate(images, labels, images[:0], near_duplicates=0, off_topic=0, label_errors=0)
    assert none.duplicate_pairs.shape == (0, 2)
    assert sorted(image.tobytes() for image in none.images) == sorted(image.tobytes() for image in images)


def test_what_makes_no_sense_is_refused() -> None:
    images, labels = digits()
    patches = off_topic_patches(10, 8)
    with pytest.raises(SettingError, match=r"near_duplicates is a fraction .* got 5"):
        contaminate(images, labels, patches, near_duplicates=5)
    with pytest.raises(DataError, match=r"90 off-topic samples are wanted, off_topic_images holds 10"):
        contaminate(images, labels, patches)
    with pytest.raises(DataError, match=r"images must be .* float64"):
        contaminate(images / 255, labels, patches)
    with pytest.raises(DataError, match=r"labels must be \(1797,\)"):
        contaminate(images, labels[:5], patches)
    with pytest.raises(DataError, match=r"label errors need two classes"):
        contaminate(images, labels * 0, patches, off_topic=0)
    with pytest.raises(DataError, match=r"off_topic_images must be"):
        contaminate(images, labels, off_topic_patches(100, 9))
    with pytest.raises(DataError, match=r"need as many different samples"):
        contaminate(images, labels, patches, near_duplicates=0.6, label_errors=0.6, off_topic=0)


def test_digits_fill_the_range() -> None:
    images, labels = digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64


def test_patches_differ_from_each_other_and_are_not_plain() -> None:
    patches = off_topic_patches(250, 28, seed=1)
    assert patches.shape == (250, 28, 28)
    assert patches.dtype == np.uint8
    assert len({patch.tobytes() for patch in patches}) == 250
    assert patches.std(axis=(1, 2)).min() >= 16
    with pytest.raises(SettingError, match=r"hold 0 patches of size 500, got n=1"):
        off_topic_patches(1, 500)
    with pytest.raises(SettingError, match=r"size >= 1"):
        off_topic_patches(1, 0)


def test_a_written_folder_holds_every_image_under_its_label(made: Contaminated, tmp_path: Path) -> None:
    write_image_folder(made, tmp_path / "new" / "folder")
    files = sorted((tmp_path / "new" / "folder").glob("*/*.png"), key=lambda file: file.stem)
    assert [int(file.stem) for file in files] == list(range(len(made.images)))
    assert [int(file.parent.name) for file in files] == made.labels.tolist()
    np.testing.assert_array_equal(np.asarray(Image.open(files[17])), made.images[17])
    with pytest.raises(SettingError, match="new or empty folder"):
        write_image_folder(made, tmp_path / "new")
