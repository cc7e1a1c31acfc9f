"""Figures: what is on them, that they can be written, and that matplotlib stays as it was."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks import audit_embeddings
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.findings import findings
from tests.helpers.image_audit import N, colour, leaking, with_images

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402

HOSTILE = ("$\\frac{1}$ $$ \\x", "a\nb\x00\udcff\u202e", "<b>" + "long " * 500)


def written(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return Image.open(buffer)


def images(figure: Figure) -> list[list[int]]:
    """Positions of the samples in each image, read off their colours."""
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.get_axes() if axes.images]
    found = []
    for image in shown:
        height, width = image.shape[:2]
        centres = range(height // 2, width, height)
        found.append([int(image[height // 2, x, 0]) for x in centres])
        assert tuple(image[height // 2, height // 2]) == colour(found[-1][0])
    return found


def texts(figure: Figure) -> list[str]:
    labels = [text for axes in figure.get_axes() for text in (axes.get_title(), axes.get_xlabel())]
    return [label for label in labels if label]


@pytest.mark.parametrize("issue", ["near_duplicates", "off_topic", "label_errors"])
def test_the_worst_are_shown_with_their_labels_and_scores(issue: str) -> None:
    audit = with_images()
    figure = audit.plot(issue, most=5)
    expected = findings(audit, issue, 5)
    assert images(figure) == [list(one.indices) for one in expected]
    reported = texts(figure)
    for one in expected:
        assert any(f"#{one.indices[0]}" in text and f"{one.score:.3g}" in text for text in reported)
        assert not one.words or f"{one.words[0]} \u2192 {one.words[1]}" in reported
    assert written(figure).size[0] > 300


def test_the_kept_copy_stands_beside_the_surplus_ones() -> None:
    first, second = findings(with_images(), "near_duplicates", 2)
    assert (first.indices, second.indices) == ((0, 1), (0, 2))
    assert images(with_images().plot("near_duplicates", most=2)) == [[0, 1], [0, 2]]


def test_flagged_ones_have_a_red_frame() -> None:
    audit = with_images()
    figure = audit.plot("label_errors")
    frames = [to_rgb(axes.spines["left"].get_edgecolor()) for axes in figure.get_axes() if axes.images]
    hits = [one.is_flagged for one in findings(audit, "label_errors", 24)]
    assert 0 < sum(hits) < 24
    assert [frame[0] > 0.7 > frame[1] + 0.3 for frame in frames] == hits


def test_the_histogram_counts_every_score_and_marks_the_threshold() -> None:
    audit = with_images()
    bars = audit.plot("off_topic").get_axes()[0]
    places = [(patch.get_x(), patch.get_height()) for patch in bars.patches if isinstance(patch, Rectangle)]
    heights = [height for _, height in places]
    assert np.square(heights).sum() == pytest.approx(N)
    assert bars.lines[0].get_xdata()[0] == audit.decisions.thresholds["off_topic"]  # type: ignore[index]
    below = np.square([height for x, height in places if x < audit.decisions.thresholds["off_topic"]])
    assert below.sum() >= audit.decisions.flags["off_topic"].sum()


def test_leaks_are_shown_from_both_splits() -> None:
    figure = leaking().plot("leakage")
    assert "train \u2192 val" in texts(figure)
    shown = [axes for axes in figure.get_axes() if axes.images]
    assert len(shown) == 3
    assert np.asarray(shown[0].images[0].get_array())[80, 240].tolist() == [0, 0, 203]


def test_the_overview_has_a_row_for_each_issue() -> None:
    for audit, rows in ((with_images(), 3), (leaking(), 4)):
        figure = audit.plot()
        assert len([axes for axes in figure.get_axes() if axes.patches]) == rows
        written(figure)
    without = replace(audit_embeddings(np.random.default_rng(0).normal(size=(30, 5))))
    assert len([axes for axes in without.plot().get_axes() if axes.patches]) == 2


@pytest.mark.parametrize("issue", ["off_topic", "label_errors", "near_duplicates"])
def test_without_images_there_is_the_histogram(issue: str) -> None:
    figure = with_images(thumbnails={}).plot(issue)
    assert images(figure) == []
    written(figure)


def test_labels_that_were_not_checked_leave_an_empty_plot() -> None:
    audit = audit_embeddings(np.random.default_rng(0).normal(size=(30, 5)))
    written(audit.plot("label_errors"))


@pytest.mark.filterwarnings("error")
def test_hostile_labels_are_text() -> None:
    figure = with_images(names=HOSTILE).plot("label_errors")
    assert all("\n" not in text and len(text) < 60 for text in texts(figure))
    written(figure)


@pytest.mark.parametrize(("arguments", "text"), [(("leakage",), "got 'leakage'"), (("off_topic", 0), "got 0")])
def test_what_makes_no_sense_is_refused(arguments: Any, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        with_images().plot(*arguments)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "selfclean_hooks.report.figures.plots", raising=False)
    with pytest.raises(SettingError, match="pip install matplotlib"):
        with_images().plot()


def test_a_notebook_shows_a_figure_by_itself() -> None:
    content: bytes = with_images().plot("off_topic", most=2)._repr_png_()  # type: ignore[attr-defined]
    assert content.startswith(b"\x89PNG")


def test_matplotlib_and_its_pyplot_are_left_alone(tmp_path: Path) -> None:
    audit = with_images()
    before = dict(matplotlib.rcParams)
    written(audit.plot())
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; from selfclean_hooks import Audit\n"
        "audit = Audit.load(sys.argv[1])\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules)\n"
        "audit.plot().savefig(sys.argv[2])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    audit.save(tmp_path / "audit")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "audit"), str(tmp_path / "figure.png")], check=True)
    assert (tmp_path / "figure.png").stat().st_size > 1000
