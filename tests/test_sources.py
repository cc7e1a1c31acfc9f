import io
import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources import ArrayDataset, FolderDataset, TableDataset, open_source


def noisy(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def write(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or noisy()).save(path, **options)
    return path


def relative(paths: list[str], root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in paths]


def refused(text: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(str(text))
    return str(caught.value)


# --- folders


def test_class_folders_give_labels_and_are_searched_in_depth(tmp_path: Path) -> None:
    for name in ("dog/2.png", "cat/deep/er/1.JPG", "cat/0.png"):
        write(tmp_path / name)
    source = open_source(str(tmp_path))
    assert isinstance(source.dataset, FolderDataset)
    assert relative(source.dataset.paths, tmp_path) == ["cat/0.png", "cat/deep/er/1.JPG", "dog/2.png"]
    assert source.class_names == source.dataset.classes == ("cat", "dog")
    assert source.labels == source.dataset.targets == [0, 0, 1]
    assert (source.name, source.vectors, source.notes) == (str(tmp_path), None, ())
    image, label = source.dataset[2]
    assert (label, image.mode) == (1, "RGB")
    np.testing.assert_array_equal(np.asarray(image), np.asarray(noisy()))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    write(tmp_path / "a.png")
    source = open_source(str(tmp_path))
    assert source.dataset is not None
    assert (source.labels, source.class_names, source.notes) == (None, None, ())
    assert not hasattr(source.dataset, "targets")
    assert not hasattr(source.dataset, "classes")
    assert relative(source.dataset.paths, tmp_path) == ["a.png", "b.png"]
    assert [len(item) for item in source.dataset] == [1, 1]


def test_a_mixed_folder_has_no_labels_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.png")
    write(tmp_path / "b.png")
    source = open_source(str(tmp_path))
    assert source.labels is None
    assert source.notes == ("1 pictures lie beside the folders `cat`: no labels are taken from folder names",)


def test_split_folders_are_pointed_out(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.png")
    write(tmp_path / "val" / "b.png")
    assert (
        "look like splits: to audit them as such give train=DIR/train val=DIR/val"
        in open_source(str(tmp_path)).notes[0]
    )


def test_hidden_files_are_left_out_and_others_counted(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/._a.png", ".cache/b.png", "__MACOSX/cat/c.png"):
        write(tmp_path / name)
    for name in ("read.me", "cat/one.txt", "cat/two.txt"):
        (tmp_path / name).write_text("text")
    source = open_source(str(tmp_path))
    assert source.dataset is not None
    assert relative(source.dataset.paths, tmp_path) == ["cat/a.png"]
    assert source.notes == ("3 files that are no pictures were passed over: .txt (2), .me (1)",)


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    assert "found no files" in refused(tmp_path)
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text("text")
    message = refused(tmp_path)
    assert "wanted a folder with pictures" in message
    assert "found 3 files, none of them a picture: .txt (2), .md (1)" in message


@pytest.mark.parametrize(
    "name", ["<script>.png", "two  spaces .png", "line\nbreak.png", "日本 ümlaut 🐈.png", "%s{0}'\".png"]
)
def test_hostile_names_are_only_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a class\n<b>" / name)
    dataset = FolderDataset(tmp_path)
    assert dataset.paths == [str(tmp_path / "a class\n<b>" / name)]
    assert dataset.classes == ("a class\n<b>",)
    assert dataset[0][0].size == (40, 30)


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere" / "x.png").parent
    root = tmp_path / "root"
    picture = write(root / "cat" / "a.png")
    (root / "cat" / "b.png").symlink_to(picture)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "a_link").symlink_to(root / "cat", target_is_directory=True)
    (root / "dog").symlink_to(elsewhere, target_is_directory=True)
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    dataset = FolderDataset(root)
    assert relative(dataset.paths, root) == ["cat/a.png", "cat/b.png", "cat/self.png", "dog/x.png"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.notes == ("2 linked folders were passed over: they lead to folders already listed",)
    assert dataset[1][0].size == (40, 30)
    with pytest.raises(OSError, match=r"self\.png: no such file, or a broken link"):
        dataset[2]


def test_data_sets_can_be_pickled(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "t.csv").write_text("path,label\ncat/a.png,3\n")
    for dataset in (FolderDataset(tmp_path), TableDataset(tmp_path / "t.csv"), ArrayDataset(np.ones((1, 4, 4)), [3])):
        again = pickle.loads(pickle.dumps(dataset))
        assert len(again) == 1
        assert again[0][0].tobytes() == dataset[0][0].tobytes()
        assert again[0][1] == dataset[0][1]


# --- damaged and unusual pictures


def damaged(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "jpg"):
        whole = io.BytesIO()
        noisy(size=(200, 200)).save(whole, "JPEG" if ending == "jpg" else "PNG")
        (folder / f"truncated.{ending}").write_bytes(whole.getvalue()[: whole.tell() // 2])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture at all")
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
    picture = (
        Image.new(mode, (40, 30))
        if mode == "I;16"
        else noisy().convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    )
    write(tmp_path / f"x.{ending}", picture)
    image = FolderDataset(tmp_path)[0][0]
    assert (image.mode, image.size) == (mode, (40, 30))
    assert pickle.loads(pickle.dumps(image)).tobytes() == image.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(tmp_path: Path, orientation: int) -> None:
    """Each corner of an upright picture has its own grey; the file stores it turned, with the tag that undoes it."""
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
    difference = np.asarray(small.resize((64, 32)), float) - np.asarray(shrunk.resize((64, 32)))
    assert abs(difference).mean() < 3


def test_a_photograph_of_168_megapixels_is_read_without_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "x.png", Image.new("L", (14000, 12000), 77))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = FolderDataset(tmp_path)[0][0]
    assert caught == []
    assert image.size == (2048, 1755)
    assert image.getextrema() == (77, 77)


def test_beyond_the_limit_of_pillow_a_picture_is_unreadable(tmp_path: Path) -> None:
    write(tmp_path / "x.png", Image.new("1", (15000, 12000)))
    with pytest.raises(OSError, match=r"x\.png: cannot be read as a picture: DecompressionBombError"):
        FolderDataset(tmp_path)[0]


# --- arrays


@pytest.mark.parametrize("shape", [(5, 8, 6), (5, 8, 6, 1), (5, 8, 6, 3), (5, 8, 6, 4)])
def test_npz_images_of_any_kind_of_number(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images.flat[:2] = 0, 255
    for given in (images, (images / 255).astype(np.float32), images.astype(np.float64)):
        np.savez(tmp_path / "x.npz", images=given, labels=np.array([4, 2, 4, 2, 0]))
        source = open_source(str(tmp_path / "x.npz"))
        assert isinstance(source.dataset, ArrayDataset)
        assert source.labels == source.dataset.targets == [4, 2, 4, 2, 0]
        assert (source.class_names, len(source.dataset)) == (None, 5)
        image, label = source.dataset[1]
        assert label == 2
        np.testing.assert_array_equal(np.asarray(image), images[1].squeeze())


def test_npz_embeddings_alone_and_beside_images(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 3))
    np.savez(tmp_path / "x.npz", embeddings=vectors, labels=np.array(["dog", "cat", "dog", "10"]))
    source = open_source(str(tmp_path / "x.npz"))
    assert source.dataset is None
    assert source.vectors is not None
    assert source.vectors.dtype == np.float32
    np.testing.assert_allclose(source.vectors, vectors, rtol=1e-6)
    assert (source.labels, source.class_names) == ([2, 1, 2, 0], ("10", "cat", "dog"))
    np.savez(tmp_path / "y.npz", embeddings=vectors, images=np.zeros((4, 5, 5), np.uint8))
    both = open_source(str(tmp_path / "y.npz"))
    assert both.dataset is not None
    assert both.vectors is not None
    assert len(both.dataset[0]) == 1
    np.savez(tmp_path / "z.npz", embeddings=vectors, images=np.zeros((3, 5, 5), np.uint8))
    assert "3 images but 4 embeddings" in refused(tmp_path / "z.npz")


def test_npz_that_cannot_be_used(tmp_path: Path) -> None:
    file, pictures = tmp_path / "x.npz", np.zeros((4, 5, 5), np.uint8)

    def message(**arrays: Any) -> str:
        np.savez(file, **arrays)
        return refused(file)

    assert "got `x`, `y`: save it under" in message(x=pictures, y=pictures)
    assert "images.transpose(0, 2, 3, 1)" in message(images=np.zeros((4, 3, 32, 32), np.uint8))
    assert "got (4, 5)" in message(images=np.zeros((4, 5), np.uint8))
    assert "got (0, 5, 5)" in message(images=pictures[:0])
    assert "got int64: scale to 0..255" in message(images=pictures.astype(np.int64))
    assert "got [-1, 0]: undo the normalisation" in message(images=pictures - 1.0)
    assert "embeddings must be (N, D) numbers, got (4,)" in message(embeddings=np.zeros(4))
    assert "(4,), got (4, 1)" in message(images=pictures, labels=np.zeros((4, 1), int))
    assert "no Python objects" in message(images=pictures, labels=np.array(["a", None, "b", "c"], object))
    assert "labels: 1 of 4 are empty, row 2" in message(images=pictures, labels=np.array([1, np.nan, 1, 0]))
    for content in (b"", b"nonsense", pickle.dumps([1])):
        file.write_bytes(content)
        assert "cannot be read as .npz" in refused(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY cut")
    assert "cannot be read as .npz" in refused(file)


def test_an_item_that_is_not_finite_is_unreadable_and_the_others_are_read() -> None:
    images = np.ones((3, 4, 4), np.float32)
    images[1, 2, 2] = np.nan
    dataset = ArrayDataset(images)
    assert dataset[0][0].getextrema() == (255, 255)
    with pytest.raises(ValueError, match="picture 1 holds values that are not finite"):
        dataset[1]


# --- tables


def write_table(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pandas as pd

    frame = pd.DataFrame(columns)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_name_pictures_beside_them(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "in" / "a, b.png")
    columns: dict[str, list[Any]] = {
        "path": ["in/a, b.png", "in/gone.png", "in/a, b.png"],
        "label": ["NA", "dog", "None"],
        "more": [1, 2, 3],
    }
    source = open_source(str(write_table(tmp_path / f"t.{kind}", columns)))
    assert isinstance(source.dataset, TableDataset)
    assert source.dataset.paths[1] == str(tmp_path / "in/gone.png")
    assert (source.class_names, source.labels) == (("NA", "None", "dog"), [0, 2, 1])
    assert source.dataset[2][1] == 1
    with pytest.raises(OSError, match=r"gone\.png: no such file"):
        source.dataset[1]
    numbers = open_source(str(write_table(tmp_path / f"n.{kind}", {**columns, "label": [7, -1, 7]})))
    assert (numbers.class_names, numbers.labels) == (None, [7, -1, 7])
    bare = open_source(str(write_table(tmp_path / f"b.{kind}", {"path": columns["path"]})))
    assert bare.dataset is not None
    assert bare.labels is None
    assert len(bare.dataset[0]) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    table = tmp_path / f"t.{kind}"
    write(tmp_path / "a.png")
    message = refused(write_table(table, {"file": ["a.png"], "label": [1]}))
    assert "wanted a column `path` (and optionally `label`), got `file`, `label`" in message
    message = refused(write_table(table, {"path": ["a.png"] * 3, "label": ["x", None, ""]}))
    assert "column `label`: 2 of 3 are empty, row 2, 3 (the first is 1): fill them in" in message
    assert "column `path`: 1 of 2 are empty" in refused(write_table(table, {"path": ["a.png", ""], "label": [1, 2]}))
    assert "b.png' and the rest do not exist" in refused(write_table(table, {"path": ["b.png"]}))
    assert "the table has no rows" in refused(write_table(table, {"path": []}))
    table.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as a table" in refused(table)


def test_a_csv_row_with_too_many_cells_is_an_error_and_not_cut(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.png,x\na,b.png,x\n")
    assert "row 2 (the first is 1) has more cells than there are columns" in refused(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("")
    assert "got none" in refused(tmp_path / "t.csv")


def test_parquet_without_pyarrow_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(tmp_path / "t.parquet", {"path": ["a.png"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'selfclean-hooks[parquet]'" in refused(table)


# --- saved Hugging Face data sets


def test_saved_hugging_face_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    saved = datasets.Dataset.from_dict({"image": [noisy(0), noisy(1)], "label": [1, 0]}, features=features)
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=saved, test=saved).save_to_disk(str(tmp_path / "two"))
    datasets.DatasetDict(a=saved, b=saved).save_to_disk(str(tmp_path / "three"))
    one, two = open_source(str(tmp_path / "one")), open_source(str(tmp_path / "two"))
    for source in (one, two):
        assert (source.labels, source.class_names) == ([1, 0], ("cat", "dog"))
        assert source.dataset is not None
        assert source.dataset[0]["image"].tobytes() == noisy(0).tobytes()
    assert (one.notes, two.notes) == ((), ("the split `train` was taken out of `train`, `test`",))
    assert "got the splits `a`, `b`: give the folder of one" in refused(tmp_path / "three")
    (tmp_path / "one" / "state.json").write_text("{")
    assert "cannot be read as a saved Hugging Face data set" in refused(tmp_path / "one")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'selfclean-hooks[huggingface]'" in refused(tmp_path / "two")


# --- Python objects

MODULE = """
from torch.utils.data import IterableDataset
from selfclean_hooks.sources import ArrayDataset
import numpy as np

ready = ArrayDataset(np.zeros((3, 4, 4), np.uint8))
pairs = [(ready[0][0], 1)]
text = "text"

class Own:
    kept = ready
    def __len__(self): return 5
    def __getitem__(self, index): return index

class Loader:
    dataset = ready

class Data:
    calls = []
    def prepare_data(self): self.calls.append("prepare_data")
    def setup(self, stage): self.calls.append(stage)
    def train_dataloader(self): return Loader()

class Several(Data):
    def train_dataloader(self): return {"a": Loader()}

class Stream(IterableDataset):
    def __iter__(self): return iter([1])
    def __len__(self): return 1

def make(size=2):
    import selfclean_helper_of_test
    return ArrayDataset(np.zeros((size, 4, 4), np.uint8))

def needs(root, split="train"): return ready
def fails(): raise RuntimeError("no such disk")
def leaves(): raise SystemExit(0)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "selfclean_source_of_test.py").write_text(MODULE)
    (tmp_path / "selfclean_helper_of_test.py").write_text("")
    (tmp_path / "selfclean_broken_of_test.py").write_text("import a_module_that_is_not_there")
    monkeypatch.chdir(tmp_path)
    for name in ("selfclean_source_of_test", "selfclean_helper_of_test", "selfclean_broken_of_test"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "selfclean_source_of_test"


@pytest.mark.parametrize(
    ("attribute", "length"),
    [("ready", 3), ("pairs", 1), ("Own", 5), ("Own.kept", 3), ("make", 2), ("Data", 3), ("Loader.dataset", 3)],
)
def test_python_objects_from_the_current_folder(module: str, attribute: str, length: int) -> None:
    before = list(sys.path)
    source = open_source(f"{module}:{attribute}")
    assert source.dataset is not None
    assert (source.name, len(source.dataset)) == (f"{module}:{attribute}", length)
    assert sys.path == before


def test_a_data_module_is_set_up_for_fitting(module: str) -> None:
    open_source(f"{module}:Data")
    assert sys.modules[module].Data.calls == ["prepare_data", "fit"]


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("absent", "has no attribute 'absent'"),
        ("text", "wanted a map-style data set, got str"),
        ("Stream", "wanted a map-style data set, got Stream"),
        ("Several", "wanted one train DataLoader, got dict: name one data set instead"),
        ("needs", "it wants arguments, (root, split='train'): write a function without required arguments"),
        ("fails", "it failed: RuntimeError: no such disk"),
        ("leaves", "it failed: SystemExit: 0"),
    ],
)
def test_python_objects_that_cannot_be_used(module: str, attribute: str, message: str) -> None:
    before = list(sys.path)
    assert message in refused(f"{module}:{attribute}")
    assert sys.path == before


def test_an_import_error_keeps_its_message(module: str) -> None:
    assert "No module named 'a_module_that_is_not_there'" in refused("selfclean_broken_of_test:x")
    assert "No module named 'selfclean_absent'" in refused("selfclean_absent:x")


def test_a_lightning_data_module_is_read_without_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = """
    from lightning import LightningDataModule
    from torch.utils.data import DataLoader
    class Data(LightningDataModule):
        def setup(self, stage): self.train = [(float(i), i % 2) for i in range(7)]
        def train_dataloader(self): return DataLoader(self.train, batch_size=2)
    """
    (tmp_path / "selfclean_lightning_of_test.py").write_text(lines.replace("\n    ", "\n"))
    monkeypatch.chdir(tmp_path)
    source = open_source("selfclean_lightning_of_test:Data")
    monkeypatch.delitem(sys.modules, "selfclean_lightning_of_test")
    assert source.dataset is not None
    assert len(source.dataset) == 7


def test_a_path_with_a_colon_is_a_path_first(module: str) -> None:
    write(Path(f"{module}:ready") / "a.png")
    assert isinstance(open_source(f"{module}:ready").dataset, FolderDataset)


@pytest.mark.parametrize("text", ["", "no/such/folder", "C:\\no\\such", "https://example.org/x.zip", "module:", "a\0b"])
def test_what_is_no_source_is_answered_with_what_one_is(text: str) -> None:
    message = refused(text)
    assert "SOURCE is a folder of pictures" in message
    assert "check the spelling" in message


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "is another kind of file: give its folder" in refused(write(tmp_path / "a.png"))
