"""Data sets of copies of one image, and images in which an encoder sees nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks import audit, audit_splits
from selfclean_hooks.cli import main as cli
from selfclean_hooks.neighbors.unit_vectors import UnitRows, repeated_blanks, with_blank_directions
from tests.helpers.image_files import noisy, write

Image = NDArray[np.uint8]


def drawn(seed: int) -> Image:
    return np.random.default_rng(seed).integers(1, 256, (8, 8, 3)).astype(np.uint8)


def black(side: int = 8) -> Image:
    return np.zeros((side, side, 3), np.uint8)


def seen(batch: Any) -> Any:
    """Of an 8 x 8 corner; nothing of a black image."""
    return [image[:, :8, :8].flatten() for image in batch] if isinstance(batch, list) else batch[..., :8, :8].flatten(1)


@pytest.mark.parametrize("n", [2, 3, 30])
@pytest.mark.parametrize("image", [drawn(0), black()], ids=["drawn", "black"])
def test_copies_of_one_image_are_found(n: int, image: Image) -> None:
    found = audit([(image, i % 2) for i in range(n)], seen, progress=False)
    assert found.frame["is_near_duplicate_issue"].all()
    assert (found.scores.near_duplicate == 0).all()
    assert len(found.pairs) == n * (n - 1) // 2


@pytest.mark.parametrize("several", [False, True])
def test_blank_images_are_copies_only_of_equal_content(several: bool) -> None:
    images = [drawn(seed) for seed in range(90)] + [black()] * 3 + ([black(9), black(9)] if several else [])
    rows = [np.pad(image, ((0, 9 - len(image)), (0, 9 - len(image)), (0, 0))) if several else image for image in images]
    if several:
        rows[-1] = rows[-2] = np.pad(black(8), ((0, 1), (0, 1), (0, 0)), constant_values=7)
    found = audit(rows, seen, progress=False)
    zero = found.pairs[found.pairs["distance"] == 0][["index_1", "index_2"]].to_numpy().tolist()
    assert zero == [[90, 91], [90, 92], [91, 92]] + ([[93, 94]] if several else [])
    count = 5 if several else 3
    note = f"{count} of {len(rows)} samples have features of zero, index 90, 91, 92"
    assert any(text.startswith(note) for text in found.provenance["notes"])
    assert set(np.argsort(found.scores.off_topic)[:3].tolist()) <= {90, 91, 92, 93, 94}


def test_a_blank_image_in_two_splits_leaks() -> None:
    train = [drawn(seed) for seed in range(20)] + [black()]
    found = audit_splits(
        {"train": train, "val": [drawn(seed) for seed in range(20, 30)] + [black()]}, seen, progress=False
    )
    assert [(row["index_1"], row["index_2"]) for row in found.leaking] == [(20, 10)]


def test_repeated_contents_get_a_direction_each() -> None:
    vectors = np.array([[1, 2], [0, 0], [0, 0], [0, 0], [0, 0]], np.float32)
    contents = ["a", "b", "c", "b", "d"]
    assert repeated_blanks([(vectors, contents), (vectors[:2], ["a", "d"])]) == ["b", "d"]
    x = UnitRows.of(with_blank_directions(vectors, contents, ["b"])).values
    assert x.tolist()[1:] == [[0, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert with_blank_directions(vectors, contents, []) is vectors


def test_a_limit_is_judged_on_copies_of_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for at in range(12):
        write(tmp_path / "d" / f"{at}.png", noisy(5))
    (tmp_path / "means.py").write_text("def means(batch):\n    return batch.mean((2, 3))\n")
    arguments = [
        "audit",
        str(tmp_path / "d"),
        "-o",
        str(tmp_path / "out"),
        "--backbone",
        "means:means",
        "--no-progress",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.chdir(tmp_path)
        assert cli.main([*arguments, "--max-near-duplicates", "count:4"]) == 1
        assert "11" in capsys.readouterr().out
        assert cli.main(["gate", str(tmp_path / "out"), "--max-near-duplicates", "count:4"]) == 1
