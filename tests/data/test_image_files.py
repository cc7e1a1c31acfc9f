import io
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from selfclean_hooks.data.reader import pixels
from selfclean_hooks.sources.folder import FolderDataset
from tests.helpers.image_files import noisy, write


def damaged(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "jpg"):
        whole = io.BytesIO()
        noisy(size=(200, 200)).save(whole, "JPEG" if ending == "jpg" else "PNG")
        (folder / f"truncated.{ending}").write_bytes(whole.getvalue()[: whole.tell() // 2])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("no image at all")
    (folder / "program.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    (folder / "broken.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.png")


def test_unreadable_files_stay_in_the_list_and_raise_when_asked_for(tmp_path: Path) -> None:
    damaged(tmp_path / "cat")
    write(tmp_path / "cat" / "fine.png")
    dataset = FolderDataset(tmp_path)
    assert len(dataset) == 8
    for index, path in enumerate(dataset.paths):
        if path.endswith("fine.png"):
            assert dataset[index][0].size == (40, 30)
        else:
            with pytest.raises(OSError, match=re.escape(path)):
                dataset[index]
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    ("mode", "ending"), [("RGBA", "png"), ("P", "gif"), ("I;16", "png"), ("CMYK", "jpg"), ("LA", "png")]
)
def test_every_mode_is_read_as_it_is(tmp_path: Path, mode: str, ending: str) -> None:
    image = (
        Image.new(mode, (40, 30))
        if mode == "I;16"
        else noisy().convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    )
    write(tmp_path / f"x.{ending}", image)
    image = FolderDataset(tmp_path)[0][0]
    assert (image.mode, image.size) == (mode, (40, 30))
    assert pickle.loads(pickle.dumps(image)).tobytes() == image.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_come_upright(tmp_path: Path, orientation: int) -> None:
    """Each corner of an upright image has its own grey; the file stores it turned, with the tag that undoes it."""
    upright = Image.fromarray(np.kron(np.array([[10, 90], [170, 250]], np.uint8), np.ones((24, 32), np.uint8)))
    turn = Image.Transpose
    stored = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    stored |= {6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = upright.transpose(stored[orientation]) if orientation > 1 else upright
    for ending in ("jpg", "png", "webp", "tif"):
        write(tmp_path / ending / f"x.{ending}", turned, exif=exif)
        image = FolderDataset(tmp_path / ending)[0][0]
        assert image.size == upright.size, ending
        assert abs(np.asarray(image.convert("L"), float) - np.asarray(upright)).mean() < 3, ending
        assert image.getexif().get(0x0112, 1) == 1


def test_a_large_jpeg_is_decoded_small_and_other_formats_are_shrunk(tmp_path: Path) -> None:
    wide = noisy(size=(64, 32)).resize((4100, 2050))
    write(tmp_path / "a.jpg", wide)
    write(tmp_path / "b.png", wide, compress_level=1)
    write(tmp_path / "c.png", wide.convert("1"))
    write(tmp_path / "d.gif", wide.convert("P"))
    write(tmp_path / "e.jpg", wide.resize((2048, 1024)))
    dataset = FolderDataset(tmp_path)
    small, shrunk, dotted, palette, untouched = (dataset[index][0] for index in range(5))
    assert small.size == (1025, 513)
    assert shrunk.size == (2048, 1024)
    assert (dotted.mode, dotted.size) == ("L", (2048, 1024))
    assert len(np.unique(dotted)) > 2
    assert (palette.mode, palette.size) == ("RGB", (2048, 1024))
    assert untouched.size == (2048, 1024)
    assert [pixels(image) for image in (small, shrunk, dotted, palette)] == [4100 * 2050] * 4  # of the files
    assert pixels(untouched) == 2048 * 1024
    difference = np.asarray(small.resize((64, 32)), float) - np.asarray(shrunk.resize((64, 32)))
    assert abs(difference).mean() < 3


def test_a_photograph_of_168_megapixels_is_read_without_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "x.png", Image.new("1", (14000, 12000), 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = FolderDataset(tmp_path)[0][0]
    assert caught == []
    assert image.size == (2048, 1755)
    assert image.getextrema() == (255, 255)


def test_beyond_the_limit_of_pillow_a_image_is_unreadable(tmp_path: Path) -> None:
    write(tmp_path / "x.png", Image.new("1", (15000, 12000)))
    with pytest.raises(OSError, match=r"x\.png: cannot be read as an image: DecompressionBombError"):
        FolderDataset(tmp_path)[0]
