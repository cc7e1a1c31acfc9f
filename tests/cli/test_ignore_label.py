"""--ignore-label: the label, or the class by name, that means that a sample has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks import Audit


@pytest.mark.parametrize(
    ("labels", "text"),
    [([0, 1, 255] * 8, "255"), (["a", "b", "void"] * 8, "void"), ([0, 1, -7] * 8, "-7"), (["1", "2", "3"] * 8, "3")],
)
def test_samples_of_that_label_have_none(labels: list[Any], text: str, tmp_path: Path, call: Any) -> None:
    x = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", embeddings=x, labels=np.array(labels))
    out = tmp_path / "out"
    ran = call("audit", tmp_path / "x.npz", "-o", out, f"--ignore-label={text}", "--no-progress", "--no-report")
    assert ran.status == 0
    scores = Audit.load(out).scores
    assert (scores.given_label[2::3] == -1).all()
    assert (np.delete(scores.given_label, np.arange(2, 24, 3)) >= 0).all()
    assert np.isnan(scores.label[2::3]).all()


def test_a_name_that_is_no_class_is_an_error(tmp_path: Path, call: Any) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "data" / name / "1.png")
    ran = call("audit", tmp_path / "data", "-o", tmp_path / "out", "--ignore-label", "owl")
    assert ran.status == 2
    assert "'cat', 'dog'" in ran.err
    assert not (tmp_path / "out").exists()
