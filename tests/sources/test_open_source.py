import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from selfclean_hooks.data.dataset_tree import class_names
from selfclean_hooks.sources.array import ArrayDataset
from selfclean_hooks.sources.folder import FolderDataset
from selfclean_hooks.sources.source import open_source
from selfclean_hooks.sources.table import TableDataset
from tests.helpers.image_files import noisy, refused, write


def test_data_sets_can_be_pickled(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "t.csv").write_text("path,label\ncat/a.png,3\n")
    for dataset in (FolderDataset(tmp_path), TableDataset(tmp_path / "t.csv"), ArrayDataset(np.ones((1, 4, 4)), [3])):
        again = pickle.loads(pickle.dumps(dataset))
        assert len(again) == 1
        assert again[0][0].tobytes() == dataset[0][0].tobytes()
        assert again[0][1] == dataset[0][1]


def test_saved_hugging_face_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    saved = datasets.Dataset.from_dict({"image": [noisy(0), noisy(1)], "label": [1, 0]}, features=features)
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=saved, test=saved).save_to_disk(str(tmp_path / "two"))
    datasets.DatasetDict(a=saved, b=saved).save_to_disk(str(tmp_path / "three"))
    one, two = open_source(str(tmp_path / "one")), open_source(str(tmp_path / "two"))
    for source in (one, two):
        assert source.dataset is not None
        assert (source.dataset["label"][:], class_names(source.dataset)) == ([1, 0], ("cat", "dog"))
        assert source.dataset[0]["image"].tobytes() == noisy(0).tobytes()
    assert (one.notes, two.notes) == ((), ("only the split `train` is audited, of train, test",))
    assert "or a `train` split, got a, b: give the folder of one" in refused(tmp_path / "three")
    (tmp_path / "one" / "state.json").write_text("{")
    assert "cannot be read as a saved Hugging Face data set" in refused(tmp_path / "one")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'selfclean-hooks[huggingface]'" in refused(tmp_path / "two")


def test_a_path_with_a_colon_is_a_path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("string:digits") / "a.png")
    assert isinstance(open_source("string:digits").dataset, FolderDataset)


@pytest.mark.parametrize(
    "text", ["", "no/such/folder", "C:\\no\\such", "https://example.org/x.zip", "module:", "a\0b", "\ud800x"]
)
def test_what_is_no_source_is_answered_with_what_one_is(text: str) -> None:
    message = refused(text)
    assert "SOURCE is a folder of images" in message
    assert "check the spelling" in message


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "is another kind of file: give its folder" in refused(write(tmp_path / "a.png"))
