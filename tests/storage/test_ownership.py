"""Files of the user's are never overwritten or removed, whatever their names; those of an audit are replaced."""

import json
import shutil
from pathlib import Path

import pytest

from selfclean_hooks import Audit
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage.ownership import FILES, SPLITS, SavedFolder, owned_files
from tests.helpers.command_line import Call, contents, refused
from tests.helpers.format_data import two

OLD = Path(__file__).parents[1] / "data" / "saved_0_1_0"


def single() -> Audit:
    return two()["train"]


def splits() -> SplitsAudit:
    return SplitsAudit(two())


@pytest.mark.parametrize("save", [lambda d: single().save(d), lambda d: splits().save(d)], ids=["one", "splits"])
@pytest.mark.parametrize("name", [*sorted(FILES), SPLITS])
def test_a_file_that_no_audit_wrote_is_refused_and_left(name: str, save: object, tmp_path: Path) -> None:
    assert callable(save)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(AuditFileError, match=f"must be empty or hold a saved audit; it holds {name}, which no audit "):
        save(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", ["{}", "[]", '{"format": 1}', "not JSON", '{"splits": [], "format": 1, "x": 3}'])
def test_an_index_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    for name in ("manifest.json", "splits.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(content)
        for audit in (single(), splits()):
            with pytest.raises(AuditFileError, match=f"holds {name}, which no audit wrote"):
                audit.save(folder)
        assert (folder / name).read_text() == content


@pytest.mark.parametrize("name", ["leakage.csv", "relabelled.csv", "splits.json"])
def test_a_file_that_is_not_one_of_the_saved_audits_is_refused(name: str, tmp_path: Path) -> None:
    plain = two()["train"]
    plain = type(plain)(plain.scores.__class__(**{**vars(plain.scores), "leaks": None}))
    plain.save(tmp_path)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    for audit in (plain, single()):
        with pytest.raises(AuditFileError, match=f"it holds {name}, which no audit wrote"):
            audit.save(tmp_path)
    assert contents(tmp_path) == before
    assert Audit.load(tmp_path).n == 10


def test_files_in_the_folder_of_a_split_are_refused_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "samples.csv").write_text("mine")
    (tmp_path / "val" / "1.png").write_bytes(b"an image")
    before = contents(tmp_path)
    with pytest.raises(AuditFileError, match=r"holds val/samples\.csv, which no audit wrote"):
        splits().save(tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / "val" / "samples.csv").unlink()
    splits().save(tmp_path)
    single().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["val"], "files of the audits alone go"
    assert (tmp_path / "val" / "1.png").read_bytes() == b"an image"
    assert len(list((tmp_path / "val").iterdir())) == 1


def test_many_files_are_counted(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).touch()
    with pytest.raises(
        AuditFileError, match=r"clean_files\.txt, clean_indices\.txt, .*manifest\.json and 5 more, which"
    ):
        single().save(tmp_path)


@pytest.mark.parametrize("name", ["regression", "multilabel", "splits", "splits/train"])
def test_files_of_an_older_version_are_known(name: str, tmp_path: Path) -> None:
    shutil.copytree(OLD / name, tmp_path / "audit")
    assert owned_files(SavedFolder(tmp_path / "audit")) >= contents(tmp_path / "audit").keys()
    single().save(tmp_path / "audit")
    (tmp_path / "new").mkdir()
    single().save(tmp_path / "new")
    left = contents(tmp_path / "audit").items() - contents(tmp_path / "new").items()
    assert {path.rpartition("/")[2] for path, _ in left} <= {"decisions.json"}


def test_what_an_index_says_of_other_folders_is_not_believed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    single().save(outside)
    splits().save(inside)
    index = json.loads((inside / "splits.json").read_text())
    index["splits"].append({"name": "x", "folder": "../outside", "scores_blake2b": ""})
    (inside / "splits.json").write_text(json.dumps(index))
    before = contents(outside)
    single().save(inside)
    assert contents(outside) == before


@pytest.mark.parametrize("folder", ["regression", "splits"])
def test_a_page_of_the_users_is_no_report(folder: str, tmp_path: Path, call: Call) -> None:
    shutil.copytree(OLD / folder, tmp_path / "audit")  # without a page
    page = tmp_path / "audit" / "report.html"
    page.write_text("<!doctype html><title>Mine</title>")
    before = contents(tmp_path)
    assert "cannot write" in refused(call("report", tmp_path / "audit"))
    for audit in (single(), splits()):
        with pytest.raises(AuditFileError, match=r"it holds report\.html, which no audit wrote"):
            audit.save(tmp_path / "audit")
    with pytest.raises(AuditFileError, match="a file is there that is no report"):
        single().to_html(page)
    assert contents(tmp_path) == before
    page.write_text("")
    assert call("report", tmp_path / "audit").status == 0
    single().to_html(page)
    single().save(tmp_path / "audit")


@pytest.mark.parametrize("name", ["samples.csv", "pairs.csv", "leakage.csv", "relabelled.csv"])
def test_a_table_that_people_made_their_own_is_not_replaced(name: str, tmp_path: Path) -> None:
    shutil.copytree(OLD / "splits" / "train", tmp_path / "audit")
    table = tmp_path / "audit" / name
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b",", b";"))  # as a spreadsheet saves it
    before = contents(tmp_path)
    with pytest.raises(AuditFileError, match=f"it holds {name}, which no audit wrote"):
        single().save(tmp_path / "audit")
    assert contents(tmp_path) == before
    table.write_bytes(b"")
    single().save(tmp_path / "audit")
