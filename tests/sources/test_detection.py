"""Detection data sets: their images and their boxes as samples, and annotations written back."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from selfclean_hooks import audit
from selfclean_hooks.data import image_files
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources import open_source
from selfclean_hooks.sources.detection import annotations as boxes
from selfclean_hooks.sources.splits import splits_in
from tests.helpers.applied_data import audited, files
from tests.sources.detection_backbone import colours

WIDTH, HEIGHT = 40, 30
# of each image: class, left, top, right, bottom in pixels
OBJECTS = [
    [("cat", 0, 0, 10, 10), ("dog", 20, 10, 40, 30)],
    [("dog", 5, 5, 25, 20)],
    [],
    [("cat", 0, 0, 40, 30), ("cat", 10, 10, 20, 20), ("dog", 30, 0, 40, 10)],
]
CLASSES = ["cat", "dog"]
FLAT = [(image, *each) for image, held in enumerate(OBJECTS) for each in held]


def pixels(image: int) -> Any:
    return np.random.default_rng(image).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def write_images(folder: Path, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for i in range(len(OBJECTS)):
        Image.fromarray(pixels(first + i)).save(folder / f"{i}.png")


def yolo(root: Path, split: str = "train", names: Any = CLASSES) -> str:
    """A data.yaml with one split more."""
    write_images(root / "images" / split, 0 if split == "train" else 10)
    labels = root / "labels" / split
    labels.mkdir(parents=True)
    for i, held in enumerate(OBJECTS):
        lines = [
            f"{CLASSES.index(name)} {(left + right) / 2 / WIDTH} {(top + bottom) / 2 / HEIGHT} "
            f"{(right - left) / WIDTH} {(bottom - top) / HEIGHT}"
            for name, left, top, right, bottom in held
        ]
        if held:  # an image without objects has no file
            (labels / f"{i}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    file = root / "data.yaml"
    content = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {"names": names}
    file.write_text(yaml.safe_dump({**content, split: f"images/{split}"}), "utf-8")
    return str(file)


def coco(root: Path) -> str:
    write_images(root / "train2017")
    (root / "annotations").mkdir()
    listed = [{"id": 100 + i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in range(len(OBJECTS))]
    held = [
        {"id": 7 * n, "image_id": 100 + image, "category_id": 10 + CLASSES.index(name), "iscrowd": 0,
         "bbox": [left, top, right - left, bottom - top]}
        for n, (image, name, left, top, right, bottom) in enumerate(FLAT)
    ]  # fmt: skip
    held.insert(2, {"id": 999, "image_id": 102, "category_id": 10, "keypoints": []})  # no box: no sample, and stays
    categories = [{"id": 10 + code, "name": name} for code, name in enumerate(CLASSES)]
    content = {"info": {"year": 2017}, "images": listed, "annotations": held, "categories": categories}
    file = root / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps(content), "utf-8")
    return str(file)


def voc(root: Path) -> str:
    write_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for i, held in enumerate(OBJECTS):
        tree = ElementTree.Element("annotation")
        ElementTree.SubElement(tree, "filename").text = f"{i}.png"
        for name, left, top, right, bottom in held:
            each = ElementTree.SubElement(tree, "object")
            ElementTree.SubElement(each, "name").text = name
            ElementTree.SubElement(each, "difficult").text = "1"
            box = ElementTree.SubElement(each, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom), strict=True):
                ElementTree.SubElement(box, key).text = str(value)
        ElementTree.ElementTree(tree).write(root / "Annotations" / f"{i}.xml")
    return str(root)


FORMATS: dict[str, Callable[[Path], str]] = {"yolo": yolo, "coco": coco, "voc": voc}


@pytest.mark.parametrize("kind", FORMATS)
def test_each_box_is_a_sample_with_its_class_and_a_name(kind: str, tmp_path: Path) -> None:
    text = FORMATS[kind](tmp_path / "data")
    source = open_source(f"{text}:objects")
    data: Any = source.dataset
    assert len(data) == len(FLAT)
    assert source.class_names == tuple(CLASSES)
    for at, (image, name, left, top, right, bottom) in enumerate(FLAT):
        crop, label = data[at]
        np.testing.assert_array_equal(np.asarray(crop), pixels(image)[top:bottom, left:right])
        assert CLASSES[label] == name
    names = [Path(name).name for name, _ in data.samples]
    assert names == ["0.png#1", "0.png#2", "1.png#1", "3.png#1", "3.png#2", "3.png#3"]


@pytest.mark.parametrize("kind", FORMATS)
def test_images_alone(kind: str, tmp_path: Path) -> None:
    source = open_source(FORMATS[kind](tmp_path / "data"))
    assert source.labels is None
    assert [Path(path).name for path in source.dataset.paths] == ["0.png", "1.png", "2.png", "3.png"]  # type: ignore[union-attr]
    assert source.notes == (f"images alone are audited: 6 boxes are samples of {source.name}:objects",)


def test_an_image_is_decoded_once_for_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = open_source(f"{yolo(tmp_path)}:objects").dataset
    read: list[str] = []

    def counted(path: str) -> Image.Image:
        read.append(path)
        return image_files.read_image(path)

    monkeypatch.setattr(boxes, "read_image", counted)
    for index in range(len(data)):
        data[index]
    assert [Path(path).name for path in read] == ["0.png", "1.png", "3.png"]
    assert pickle.loads(pickle.dumps(data))._decoded is None


def test_large_images_are_shrunk_and_boxes_with_them(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "Annotations").mkdir()
    large = np.zeros((1500, 3000, 3), np.uint8)
    large[300:600, 1500:2100] = 255
    content = {
        "images": [{"id": 1, "file_name": "1.png"}],  # whose size is not given
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1500, 300, 600, 300]}],
        "categories": [{"id": 1, "name": "white"}],
    }
    Image.fromarray(large).save(tmp_path / "images" / "1.png")
    (tmp_path / "instances.json").write_text(json.dumps(content), "utf-8")
    crop = open_source(f"{tmp_path / 'instances.json'}:objects").dataset[0][0]  # type: ignore[index]
    assert crop.width < 600
    assert np.asarray(crop)[2:-2, 2:-2].min() > 250


def test_polygons_count_by_their_bounds(tmp_path: Path) -> None:
    text = yolo(tmp_path)
    (tmp_path / "labels" / "train" / "1.txt").write_text("1 0.1 0.2 0.5 0.2 0.5 0.6 0.3 0.8\n", "utf-8")
    crop = open_source(f"{text}:objects").dataset[2][0]  # type: ignore[index]
    np.testing.assert_array_equal(np.asarray(crop), pixels(1)[6:24, 4:20])
    content = json.loads(Path(coco(tmp_path / "coco")).read_text("utf-8"))
    content["annotations"][0] = {
        "image_id": 100, "category_id": 10, "segmentation": [[2, 3, 8, 3, 8, 9], [1, 4, 5, 4, 5, 12]]
    }  # fmt: skip
    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps(content), "utf-8")
    crop = open_source(f"{file}:objects").dataset[0][0]  # type: ignore[index]
    np.testing.assert_array_equal(np.asarray(crop), pixels(0)[3:12, 1:8])


def test_splits_of_a_data_set(tmp_path: Path) -> None:
    yolo(tmp_path, "val")
    text = yolo(tmp_path, "train")
    assert splits_in(text) == {"train": f"{text}:train", "val": f"{text}:val"}
    assert splits_in(f"{text}:objects") == {"train": f"{text}:train:objects", "val": f"{text}:val:objects"}
    assert splits_in(f"{text}:val") == {}
    source = open_source(f"{text}:val:objects")
    assert "val" in source.dataset.samples[0][0]  # type: ignore[union-attr]
    place = Path(voc(tmp_path / "voc"))
    (place / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", "0\n1\n"), ("val", "3 1\n")):
        (place / "ImageSets" / "Main" / f"{split}.txt").write_text(names, "utf-8")
    assert list(splits_in(str(place))) == ["train", "val"]
    assert len(open_source(f"{place}:val:objects").dataset) == 3  # type: ignore[arg-type]


def test_names_by_number_and_lists_of_images(tmp_path: Path) -> None:
    text = yolo(tmp_path, names={0: "cat", 1: "dog"})
    (tmp_path / "some.txt").write_text("./images/train/1.png\nimages/train/3.png\n", "utf-8")
    Path(text).write_text(yaml.safe_dump({"names": {0: "cat", 1: "dog"}, "train": "some.txt"}), "utf-8")
    assert len(open_source(f"{text}:objects").dataset) == 4  # type: ignore[arg-type]


def applied(kind: str, folder: Path, drop: list[int], relabel: dict[int, str]) -> Path:
    """The data set of a format with some boxes dropped and others with new labels."""
    text = f"{FORMATS[kind](folder / 'data')}:objects"
    audited(text, drop, relabel).apply(folder / "clean")
    return folder / "clean"


def test_yolo_is_written_back_with_its_images(tmp_path: Path) -> None:
    place = applied("yolo", tmp_path, [0, 4], {2: "cat"})
    again: Any = open_source(f"{place / 'data.yaml'}:objects").dataset
    assert [CLASSES[label] for _, label in again.samples] == ["dog", "cat", "cat", "dog"]
    before: Any = open_source(f"{tmp_path / 'data' / 'data.yaml'}:objects").dataset
    for now, was in zip(range(4), (1, 2, 3, 5), strict=True):
        np.testing.assert_array_equal(np.asarray(again[now][0]), np.asarray(before[was][0]))
    assert files(place / "images") == files(tmp_path / "data" / "images")  # those without objects too
    lines = (place / "labels" / "train" / "3.txt").read_text("utf-8").splitlines()
    own = (tmp_path / "data" / "labels" / "train" / "3.txt").read_text("utf-8").splitlines()
    assert lines == [own[0], own[2]]


def test_coco_is_written_back(tmp_path: Path) -> None:
    place = applied("coco", tmp_path, [0], {2: "cat"})
    now = json.loads((place / "instances_train2017.json").read_text("utf-8"))
    was = json.loads((tmp_path / "data" / "annotations" / "instances_train2017.json").read_text("utf-8"))
    expected = was["annotations"][1:]
    expected[2]["category_id"] = 10
    assert [each["id"] for each in now["annotations"]] == [7, 999, 14, 21, 28, 35]
    assert now == {**was, "annotations": expected}


def test_images_of_coco_are_dropped_with_their_annotations(tmp_path: Path) -> None:
    text = coco(tmp_path / "data")
    audited(text, [1, 3]).apply(tmp_path / "clean")
    was = json.loads(Path(text).read_text("utf-8"))
    place = tmp_path / "clean" / "annotations" / "instances_train2017.json"
    now = json.loads(place.read_text("utf-8"))
    assert [each["id"] for each in now["images"]] == [100, 102]
    assert now["annotations"] == [each for each in was["annotations"] if each["image_id"] in (100, 102)]
    assert {key: now[key] for key in ("info", "categories")} == {key: was[key] for key in ("info", "categories")}
    assert set(files(tmp_path / "clean" / "train2017")) == {"0.png", "2.png"}
    assert len(open_source(str(place)).dataset) == 2  # type: ignore[arg-type]


def test_images_of_coco_are_where_the_user_says(tmp_path: Path, call: Any) -> None:
    text = Path(coco(tmp_path / "data"))
    (tmp_path / "data" / "train2017").rename(tmp_path / "elsewhere")
    backbone = ("--backbone", "tests.sources.detection_backbone:colours", "--no-progress")
    refused = call("audit", text, "-o", tmp_path / "audit", *backbone)
    assert "put the file beside the folder of images, or name that with --images" in refused.err
    for what in ("", ":objects"):
        out, clean = tmp_path / f"audit{what[1:]}", tmp_path / f"clean{what[1:]}"
        assert call("audit", f"{text}{what}", "-o", out, *backbone, "--images", tmp_path / "elsewhere").status == 0
        assert call("apply", out, "--to", clean).status == 0
    assert (tmp_path / "clean" / "data" / "annotations" / text.name).is_file()
    assert (tmp_path / "clean" / "elsewhere").is_dir()
    assert (tmp_path / "cleanobjects" / text.name).is_file()
    wrong = call("audit", tmp_path / "elsewhere", "-o", tmp_path / "3", *backbone, "--images", tmp_path)
    assert "--images is the folder of the images of a COCO .json" in wrong.err


def test_voc_is_written_back(tmp_path: Path) -> None:
    place = applied("voc", tmp_path, [0, 3], {2: "horse"})
    trees = [ElementTree.parse(place / "Annotations" / f"{i}.xml").getroot() for i in range(4)]
    names = [[each.findtext("name") for each in tree.findall("object")] for tree in trees]
    assert names == [["dog"], ["horse"], [], ["cat", "dog"]]
    assert {each.findtext("difficult") for tree in trees for each in tree.iter("object")} == {"1"}


def test_boxes_that_changed_since_the_audit_are_refused(tmp_path: Path) -> None:
    text = yolo(tmp_path / "data")
    found = audited(f"{text}:objects", [0])
    file = tmp_path / "data" / "labels" / "train" / "3.txt"
    own = file.read_text("utf-8")
    for changed, why in ((own.replace("0 ", "1 ", 1), "another label of 1 samples"), (own + own, "holds 9 samples")):
        file.write_text(changed, "utf-8")
        with pytest.raises(SourceError, match=why):
            found.apply(tmp_path / "clean")


def test_the_command_audits_boxes_and_applies(tmp_path: Path, call: Any) -> None:
    yolo(tmp_path / "data", "val")
    text = yolo(tmp_path / "data")
    audit_folder = tmp_path / "audit"
    ran = call("audit", f"{text}:objects", "-o", audit_folder, "--backbone", "tests.sources.detection_backbone:colours")
    assert ran.status == 0, ran.err
    rows = (audit_folder / "train" / "samples.csv").read_text("utf-8")
    assert "0.png#2" in rows
    assert (audit_folder / "leakage.csv").exists()
    ran = call("apply", audit_folder, "--to", tmp_path / "clean", "--mode", "copy")
    assert ran.status == 0, ran.err
    assert (tmp_path / "clean" / "val" / "labels" / "val" / "3.txt").is_file()


def broken(text: str, path: Path, content: str) -> str:
    path.write_text(content, "utf-8")
    with pytest.raises(SourceError) as error:
        open_source(f"{text}:objects")
    return str(error.value)


def test_what_is_wrong_is_a_sentence(tmp_path: Path) -> None:
    text = yolo(tmp_path)
    line = tmp_path / "labels" / "train" / "0.txt"
    assert "0.txt: line 1: wanted a class from 0 to 1, got '7'" in broken(text, line, "7 0.5 0.5 1 1")
    assert "line 2: wanted 'class x y width height' or a polygon, got '1 0.5'" in broken(
        text, line, "0 .5 .5 1 1\n1 0.5"
    )
    assert "0.txt: could not convert string to float: 'x'" in broken(text, line, "0 x 0.5 1 1")
    line.unlink()
    assert "wanted the classes under `names`" in broken(text, Path(text), "train: images/train")
    assert "wanted folders of images under `train` and `val`, got names" in broken(text, Path(text), "names: [cat]")
    assert "cannot be read as YAML" in broken(text, Path(text), "names: [cat")
    assert "wanted `train`, `val` and `names`, got a list" in broken(text, Path(text), "[1]")
    assert "there is none: check `path`" in broken(text, Path(text), "{names: [cat], train: nowhere}")
    other = Path(coco(tmp_path / "coco"))
    content = json.loads(other.read_text("utf-8"))
    moved = {**content, "images": [{"id": 1, "file_name": "gone.png"}], "annotations": []}
    assert "gone.png is in none of" in broken(str(other), other, json.dumps(moved))
    empty = json.dumps({**content, "images": [], "annotations": []})
    assert "`images` must list the images of the data set, got none" in broken(str(other), other, empty)
    odd = {**content, "annotations": [{"image_id": 5, "category_id": 10, "bbox": [0, 0, 1, 1]}]}
    assert "annotation 0 is of no listed image or category" in broken(str(other), other, json.dumps(odd))
    assert "wanted lists of objects under images" in broken(str(other), other, '{"images": 1, "annotations": []}')
    place = Path(voc(tmp_path / "voc"))
    xml = place / "Annotations" / "0.xml"
    assert "wanted a bndbox" in broken(str(place), xml, "<annotation><object><name>cat</name></object></annotation>")
    assert "cannot be read as XML" in broken(str(place), xml, "<annotation>")
    assert "definitions of its own" in broken(str(place), xml, '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>')


def test_an_empty_box_is_recorded_and_the_audit_goes_on(tmp_path: Path) -> None:
    text = yolo(tmp_path)
    (tmp_path / "labels" / "train" / "1.txt").write_text("1 1.5 1.5 0.1 0.1\n", "utf-8")
    source = open_source(f"{text}:objects")
    found = audit(source.dataset, backbone=colours, labels=source.labels, progress=False)
    assert "the box holds no pixel of its image" in found.scores.errors[2]
    assert found.names is not None
    assert found.names[2].endswith("1.png#1")


def test_only_what_is_one_is_taken_for_one(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}', "utf-8")
    with pytest.raises(SourceError, match="another kind of file"):
        open_source(str(tmp_path / "other.json"))
    with pytest.raises(SourceError, match="none of these"):
        open_source(f"{folder / 'cat'}:objects")
    text = yolo(tmp_path / "yolo")
    with pytest.raises(SourceError, match="there is no split 'val', got train"):
        open_source(f"{text}:val")
