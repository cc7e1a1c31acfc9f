"""A folder of images after an audit: the same files and names, without what is dropped."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import Audit, Policy, Thresholds, audit_embeddings
from selfclean_hooks.errors import AuditFileError, PolicyError, SettingError, SourceError
from selfclean_hooks.sources.source import open_source
from selfclean_hooks.storage.applied.new_folder import take
from tests.helpers.applied_data import LISTS, audited, data, files, image, images

NAMES = ("cat/1.png", "cat/2.png", "cat/deep/1.png", "dog/1.png", "dog/3.png", "owl/9.png")


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_what_is_kept_has_its_name_and_bytes(mode: Any, tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    before = files(source)
    done = audited(source, drop=[1, 4]).apply(tmp_path / "clean", mode)
    assert data(tmp_path / "clean") == {name: before[name] for i, name in enumerate(NAMES) if i not in (1, 4)}
    assert files(source) == before
    assert (done.kept, dict(done.dropped), done.relabelled) == (4, {"off_topic": 2}, 0)
    for name in data(tmp_path / "clean"):
        assert os.path.samefile(source / name, tmp_path / "clean" / name) == (mode == "link")


def test_reasons_are_listed(tmp_path: Path) -> None:
    audit = audited(images(tmp_path / "photos", *NAMES), drop=[4], relabel={0: "dog"})
    audit.apply(tmp_path / "clean")
    dropped, relabelled = (pd.read_csv(tmp_path / "clean" / name).to_dict("records") for name in LISTS)
    photos = tmp_path / "photos"
    [row] = dropped
    assert (row["index"], row["sample"], row["issue"]) == (4, str(photos / "dog" / "3.png"), "off_topic")
    assert row["reason"] == audit.decisions.reason[4]
    sample = str(photos / "cat" / "1.png")
    assert relabelled == [
        {"index": 0, "sample": sample, "given_label": "cat", "new_label": "dog", "file": "dog/1_from_cat.png"}
    ]


def test_a_new_label_is_another_folder_and_no_name_is_lost(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    before = files(source)
    new = {0: "dog", 2: "new one", 3: "cat", 5: "dog"}
    audited(source, drop=[4], relabel=new).apply(tmp_path / "clean")
    moved = {
        "cat/1.png": "dog/1_from_cat.png",  # dog/1.png is a name of the source
        "cat/deep/1.png": "new one/deep/1.png",
        "dog/1.png": "cat/1_from_dog.png",
        "owl/9.png": "dog/9.png",
    }
    assert data(tmp_path / "clean") == {moved.get(name, name): before[name] for name in NAMES if name != "dog/3.png"}
    again = open_source(str(tmp_path / "clean"))
    assert again.class_names == ("cat", "dog", "new one")


def test_classes_below_a_single_folder_stay_there(tmp_path: Path) -> None:
    names = ("cover.png", "images/a/1.png", "images/a/2.png", "images/b/1.png", "images/b/5.png")
    source = images(tmp_path / "set", *names)
    before = files(source)
    audited(source, drop=[3], relabel={0: "a", 1: "b"}).apply(tmp_path / "clean")
    moved = {"cover.png": "images/a/cover.png", "images/a/1.png": "images/b/1_from_a.png"}
    assert data(tmp_path / "clean") == {moved.get(name, name): before[name] for name in names if name != names[3]}


def test_a_flat_folder_and_new_labels_that_have_no_place_there(tmp_path: Path) -> None:
    source = images(tmp_path / "flat", "a.png", "b.png", "c.png")
    (source / "notes.txt").write_text("not an image")
    done = audited(source, drop=[0], relabel={1: "dog"}).apply(tmp_path / "clean")
    assert set(data(tmp_path / "clean")) == {"b.png", "c.png"}
    assert done.notes == (
        "new labels are listed and not applied: there are no class folders",
        "1 files that are no images and belong to none are not taken along",
    )


def random_tree(rng: np.random.Generator) -> list[str]:
    folders = ["a", "b", "c/x", "c/y", "a/z"]
    return sorted({f"{rng.choice(folders)}/{rng.integers(4)}.png" for _ in range(14)}, key=lambda name: name.split("/"))


@pytest.mark.parametrize("seed", range(6))
def test_any_tree_is_what_a_walk_says(seed: int, tmp_path: Path) -> None:
    """The slow twin: copy the tree, remove what is dropped, and move what is relabelled one by one."""
    rng = np.random.default_rng(seed)
    names = random_tree(rng)
    source = images(tmp_path / "photos", *names)
    order = rng.permutation(len(names)).tolist()
    drop, relabel = order[:3], {i: str(rng.choice(["a", "b", "c", "d"])) for i in order[3:8]}
    expected = files(source)
    for i in drop:
        del expected[names[i]]
    for i in sorted(relabel):
        folder, _, rest = names[i].partition("/")
        if relabel[i] != folder:
            content, place, count = expected.pop(names[i]), f"{relabel[i]}/{rest}", 1
            while place in expected or place in names:
                extra = f"_{count}" if count > 1 else ""
                place, count = f"{relabel[i]}/{rest.removesuffix('.png')}_from_{folder}{extra}.png", count + 1
            expected[place] = content
    audited(source, drop, relabel).apply(tmp_path / "clean", "copy")
    assert data(tmp_path / "clean") == expected


def test_links_are_followed_and_copies_made_where_no_link_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = images(tmp_path / "photos", *NAMES[:4])
    original = image(tmp_path / "elsewhere" / "real.png", 9)
    (source / "cat" / "z.png").symlink_to("../../elsewhere/real.png")
    audited(source).apply(tmp_path / "clean")
    linked = tmp_path / "clean" / "cat" / "z.png"
    assert not linked.is_symlink()
    assert os.path.samefile(linked, original)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    done = audited(source).apply(tmp_path / "copied")
    assert data(tmp_path / "copied") == data(tmp_path / "clean")
    assert done.notes == ("5 files were copied, as they cannot be linked there",)


def test_only_lists(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    audited(source, drop=[1]).apply(tmp_path / "lists", "list")
    assert set(files(tmp_path / "lists")) == {*LISTS, "clean_files.txt"}
    kept = (tmp_path / "lists" / "clean_files.txt").read_text().splitlines()
    assert kept == [str(source / name) for i, name in enumerate(NAMES) if i != 1]


def test_the_clean_files_are_saved_with_the_audit(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES[:5], "owl/odd\nname.png")
    audit = audited(source, drop=[1])
    audit.save(tmp_path / "audit")
    lines = (tmp_path / "audit" / "clean_files.txt").read_text().splitlines()
    positions = (tmp_path / "audit" / "clean_indices.txt").read_text().split()
    assert lines == [(audit.names or ())[int(i)].replace("\n", "\\n") for i in positions]
    before = files(tmp_path / "audit")
    Audit.load(tmp_path / "audit").save(tmp_path / "audit")  # a list of the audit's own is replaced
    assert set(files(tmp_path / "audit")) == set(before)


def test_a_list_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "clean_files.txt").write_text("mine\n")
    with pytest.raises(AuditFileError, match=r"clean_files\.txt"):
        audited(images(tmp_path / "photos", *NAMES)).save(tmp_path / "audit")


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    audit = audited(source, drop=[1])
    done = audit.apply(tmp_path / "deep" / "clean", dry_run=True)
    assert done.describe() == "5 samples kept, 1 dropped (off topic 1), 0 relabelled"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert audit.apply(tmp_path / "deep" / "clean") == done


def test_the_policy_drops_and_refuses(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    audit = audited(images(tmp_path / "flat", *names)).at(policy=Policy(off_topic="drop"))
    scores = np.sort(audit.scores.off_topic)
    worst = int(np.argmin(audit.scores.off_topic))
    audit.at(thresholds=Thresholds(off_topic=float(scores[:2].mean()))).apply(tmp_path / "clean")
    assert set(data(tmp_path / "clean")) == set(names) - {names[worst]}
    with pytest.raises(PolicyError, match="would drop 4 of 6"):
        audit.at(thresholds=Thresholds(off_topic=float(scores[3:5].mean()))).apply(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_folder_is_new_and_elsewhere(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    audit = audited(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "way_in").symlink_to(source)
    for target, why in (
        (source, "holds other files"),
        (source / "cat" / "clean", "must not be a part of the audited one"),
        (tmp_path / "way_in" / "clean", "must not be a part of the audited one"),
        (tmp_path / "full", "holds other files"),
        (tmp_path / "file", "is no folder"),
    ):
        before = files(tmp_path)
        with pytest.raises(SettingError, match=why):
            audit.apply(target)
        assert files(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert audit.apply(tmp_path / "empty").kept == len(NAMES)
    with pytest.raises(SettingError, match="mode must be one of link, copy, move, list, got 'steal'"):
        audit.apply(tmp_path / "clean", "steal")  # type: ignore[arg-type]


@pytest.mark.parametrize("label", ["..", "a/b", ".hidden", "a\\b", "@eaDir"])
def test_a_new_label_that_is_no_folder(label: str, tmp_path: Path) -> None:
    audit = audited(images(tmp_path / "photos", *NAMES), relabel={0: label})
    with pytest.raises(SourceError, match="cannot be the name of one"):
        audit.apply(tmp_path / "clean")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_nothing_is_left_of_what_fails_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = audited(images(tmp_path / "photos", *NAMES))
    real, made = os.link, list[None]()

    def full(*arguments: Any, **named: Any) -> None:
        made.append(real(*arguments, **named))
        if len(made) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(KeyboardInterrupt):
        audit.apply(tmp_path / "clean")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_labels_that_the_policy_replaces(tmp_path: Path) -> None:
    names = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(12)]
    source = images(tmp_path / "photos", *names)
    vectors = np.random.default_rng(0).normal(size=(24, 6))
    vectors[:12, 0] += 9
    vectors[12:, 1] += 9
    vectors[3] = [0, 9, 0, 0, 0, 0.1]  # a dog among the cats
    order = sorted(names)
    made = audit_embeddings(vectors[[names.index(name) for name in order]], [name[0] == "d" for name in order])
    files_of = tuple(str(source / name) for name in order)
    scores = replace(made.scores, class_names=("cat", "dog"))
    audit = replace(made, scores=scores, names=files_of, provenance={"dataset": {"name": str(source)}}, digests=None)
    wrong = order.index("cat/3.png")
    score = float(audit.scores.label[wrong])
    audit = audit.at(thresholds=Thresholds(None, None, score + 1e-6), policy=Policy(label_errors="relabel"))
    assert audit.new_labels == {wrong: "dog"}
    assert audit.apply(tmp_path / "clean").relabelled == 1
    assert set(data(tmp_path / "clean")) == set(names) - {"cat/3.png"} | {"dog/3_from_cat.png"}


def test_broken_links_that_the_policy_keeps(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES[:3])
    (source / "cat" / "gone.png").symlink_to("nowhere.png")
    audit = audited(source)
    at = [Path(name).name for name in audit.names or ()].index("gone.png")
    audit = replace(audit, scores=replace(audit.scores, errors={at: "no such file"}))
    done = audit.apply(tmp_path / "clean")
    assert set(data(tmp_path / "clean")) == set(NAMES[:3])
    assert done.notes == ("1 files that cannot be found are not taken along",)


def test_what_belongs_to_an_image_goes_with_it(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    texts = ("cat/1.txt", "cat/1.png.json", "cat/2.txt", "dog/1.txt", "dog/1_from_cat.txt", "README.md", "cat/list.csv")
    for name in texts:
        (source / name).write_text(name)
    before, audit = files(source), audited(source, drop=[1], relabel={0: "dog"})
    done = audit.apply(tmp_path / "clean")
    moved = {
        "cat/1.png": "dog/1_from_cat.png",
        "cat/1.txt": "dog/1_from_cat_from_cat.txt",  # that of dog/1.txt and its neighbour are taken
        "cat/1.png.json": "dog/1_from_cat.png.json",
    }
    left = {"cat/2.png", "cat/2.txt", "README.md", "cat/list.csv", "dog/1_from_cat.txt"}
    assert data(tmp_path / "clean") == {moved.get(n, n): content for n, content in before.items() if n not in left}
    assert done.notes == ("3 files that are no images and belong to none are not taken along",)
    audit.apply(tmp_path / "aside", "move")
    aside = {"cat/2.png", "cat/2.txt"}
    assert files(source) == {moved.get(n, n): content for n, content in before.items() if n not in aside}
    assert {name for name in files(tmp_path / "aside") if name[0] == "d"} >= {f"dropped/off_topic/{n}" for n in aside}
    Audit.undo(tmp_path / "aside")
    assert files(source) == before


def test_annotations_of_yolo(tmp_path: Path) -> None:
    source = images(tmp_path / "set", "images/1.png", "images/2.png", "images/3.png")
    (source / "labels").mkdir()
    for i in (1, 2, 3):
        (source / "labels" / f"{i}.txt").write_text(f"0 0.5 0.5 {i}")
    audited(source, drop=[1]).apply(tmp_path / "clean")
    assert set(data(tmp_path / "clean")) == {
        f"{kind}/{i}" for kind, end in (("images", "png"), ("labels", "txt")) for i in (f"1.{end}", f"3.{end}")
    }


def test_no_file_is_put_in_the_place_of_another(tmp_path: Path) -> None:
    source = images(tmp_path / "photos", "a.png", "b.png")
    before = files(source)
    for is_link in (True, False):
        with pytest.raises(FileExistsError, match=r"two files of the name b\.png"):
            take(str(source / "a.png"), source / "b.png", is_link)
    assert files(source) == before
