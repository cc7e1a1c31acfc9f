"""The contact sheet: what is on it, in which order, and how large."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks import Audit, Policy, audit_embeddings
from selfclean_hooks.errors import SettingError
from selfclean_hooks.report.figures.contact_sheet import COLUMNS, GAP, LINE, PAPER, RED, SIDE, contact_sheet
from selfclean_hooks.results.findings import BEYOND

N = 40
TILE = SIDE + 2 * GAP


def made(labels: bool = True, names: tuple[str, ...] | None = None) -> Audit:
    """Every sample has an image of one colour, its position being the red channel."""
    vectors = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    vectors[3] = vectors[1]
    audit = audit_embeddings(vectors, np.arange(N) % 3 if labels else None)
    images = {i: png(Image.new("RGB", (SIDE, SIDE), (i, 0, 255))) for i in range(N)}
    return replace(audit, thumbnails=images, scores=replace(audit.scores, class_names=names))


def png(image: Image.Image) -> bytes:
    """Exactly as it is: the tests read positions off colours."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def positions(sheet: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], lines: int, pairs: bool = False) -> list[int]:
    """Which samples are shown, read off the colours in the middle of each place for an image."""
    height = SIDE + lines * LINE + 2 * GAP
    rows = range(GAP + SIDE // 2, sheet.shape[0], height)
    offsets = (GAP + SIDE // 2, GAP + SIDE // 2 + SIDE) if pairs else (GAP + SIDE // 2,)
    width = TILE + SIDE if pairs else TILE
    spots = [sheet[y, x + dx] for y in rows for x in range(0, sheet.shape[1], width) for dx in offsets]
    return [int(spot[0]) for spot in spots if tuple(spot) != PAPER]


def test_the_worst_come_first() -> None:
    audit = made()
    sheet = contact_sheet(audit, "off_topic", most=8)
    assert sheet is not None
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (TILE + LINE), COLUMNS * TILE, 3)
    assert positions(sheet, 1) == np.argsort(audit.scores.off_topic, kind="stable")[:8].tolist()
    sheet = contact_sheet(audit, "label_errors", most=3)
    assert sheet is not None
    hits = audit.decisions.flags["label_errors"]  # of two copies with different labels both, whatever their scores
    assert positions(sheet, 3) == np.lexsort((audit.scores.label, ~hits))[:3].tolist()


def test_pairs_stand_side_by_side() -> None:
    audit = made()
    sheet = contact_sheet(audit, "near_duplicates", most=5)
    assert sheet is not None
    assert sheet.shape == (2 * (TILE + 2 * LINE), 3 * (TILE + SIDE), 3)
    assert positions(sheet, 2, pairs=True) == audit.scores.pair_index[:5].ravel().tolist()
    sizes = replace(audit.scores, pixels=np.arange(N))
    kept_last = replace(audit, scores=sizes, policy=Policy(keep="largest_image"))
    sheet = contact_sheet(kept_last, "near_duplicates", most=1)
    assert sheet is not None
    assert positions(sheet, 2, pairs=True) == [3, 1]  # the kept copy first


def test_of_many_pairs_only_those_that_reports_show_are_looked_at() -> None:
    audit = made()
    assert len(audit.scores.pair_index) > 5 * BEYOND
    sheet = contact_sheet(audit, "near_duplicates", most=1000)
    assert sheet is not None
    assert positions(sheet, 2, pairs=True) == audit.scores.pair_index[: 1 + BEYOND].ravel().tolist()


def test_transparent_images_lie_on_paper() -> None:
    audit = made()
    clear = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    sheet = contact_sheet(replace(audit, thumbnails=dict.fromkeys(range(N), png(clear))), "off_topic", most=1)
    assert sheet is not None
    assert tuple(sheet[GAP + SIDE // 2, TILE // 2]) == PAPER


def test_very_small_images_are_enlarged_pixel_by_pixel() -> None:
    audit, dot = made(), Image.new("L", (2, 2), 255)
    dot.putpixel((0, 0), 0)
    sheet = contact_sheet(replace(audit, thumbnails=dict.fromkeys(range(N), png(dot))), "off_topic", most=1)
    assert sheet is not None
    inside = sheet[GAP + 3 : GAP + SIDE - 3, GAP + 3 : GAP + SIDE - 3, 0]
    assert set(np.unique(inside).tolist()) == {0, 255}
    assert (inside == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_flagged_ones_have_a_red_frame() -> None:
    audit = made()
    sheet = contact_sheet(audit, "near_duplicates", most=2)
    assert sheet is not None
    frames = [tuple(int(v) for v in sheet[GAP - 1, x + GAP]) for x in (0, TILE + SIDE)]
    assert audit.decisions.flags["near_duplicates"].sum() == 2
    assert frames[0] == RED != frames[1]


def test_captions_are_written_and_shortened_to_their_tile() -> None:
    long = made(names=("an uncommonly long name of a class " * 3, "日本", "c"))
    sheets = [contact_sheet(audit, "label_errors", most=6) for audit in (made(), long)]
    assert sheets[0] is not None
    assert sheets[1] is not None
    assert sheets[0].shape == sheets[1].shape
    assert (sheets[0] != sheets[1]).any()
    between = sheets[1][:, np.arange(0, sheets[1].shape[1], TILE)]
    assert (between == PAPER).all()
    caption = sheets[0][GAP + SIDE + 4 : GAP + SIDE + LINE, :TILE]
    assert caption.min() < 60


def test_samples_without_a_image_are_left_out() -> None:
    audit = made()
    worst = np.argsort(audit.scores.off_topic, kind="stable").tolist()
    fewer = replace(audit, thumbnails={i: p for i, p in audit.thumbnails.items() if i != worst[0]})
    sheet = contact_sheet(fewer, "off_topic", most=2)
    assert sheet is not None
    assert positions(sheet, 1) == worst[1:3]


def test_small_and_narrow_images_keep_their_place() -> None:
    audit = made()
    images = {i: png(Image.new("L", (90, 20), 0)) for i in range(N)}
    sheet = contact_sheet(replace(audit, thumbnails=images), "off_topic", most=1)
    assert sheet is not None
    assert sheet.shape == (TILE + LINE, TILE, 3)
    assert sheet[GAP + SIDE // 2, TILE // 2].tolist() == [0, 0, 0]
    assert tuple(sheet[GAP + 5, TILE // 2]) == PAPER


def test_nothing_to_show() -> None:
    assert contact_sheet(replace(made(), thumbnails={}), "off_topic") is None
    assert contact_sheet(made(labels=False), "label_errors") is None


@pytest.mark.parametrize(("issue", "most", "text"), [("leakage", 3, "got 'leakage'"), ("off_topic", 0, "got 0")])
def test_settings_that_make_no_sense(issue: str, most: int, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        contact_sheet(made(), issue, most)
