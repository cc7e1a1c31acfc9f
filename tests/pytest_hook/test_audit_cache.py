"""What a run of pytest takes from an earlier one, and what it must not."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfclean_hooks_pytest.audit_cache
from selfclean_hooks import audit_embeddings
from tests.pytest_hook.inner_runs import TEST, cache, change, embedded, failure, outcomes, reported, run, write_images

pytest_plugins = ["pytester"]
AGAIN = "(audit of an earlier run)"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    write_images(pytester.path / "data")
    pytester.makepyfile(test_data=TEST)
    return pytester


def is_kept(project: pytest.Pytester, *arguments: str) -> bool:
    """Run once more; whether the audit is that of an earlier run."""
    before = embedded(project)
    result = run(project, *arguments)
    (line,) = reported(result)
    assert (AGAIN in line) == (embedded(project) == before)
    return AGAIN in line


def test_a_second_run_finds_the_same_and_embeds_nothing(project: pytest.Pytester) -> None:
    first = run(project)
    before = embedded(project)
    second = run(project)
    assert embedded(project) == before > 0
    assert failure(first) == failure(second) != []
    assert AGAIN not in reported(first)[0]
    assert AGAIN in reported(second)[0]


def test_the_audit_of_splits_is_kept(project: pytest.Pytester) -> None:
    change(project, "assert_clean(data", 'assert_clean({"train": data, "val": data}')
    first = run(project)
    before = embedded(project)
    second = run(project)
    assert embedded(project) == before > 0
    assert failure(first) == failure(second) != []
    assert [AGAIN in line for line in reported(first) + reported(second)] == [False, False, True, True]


def test_a_image_changed_in_place_is_seen(project: pytest.Pytester) -> None:
    path = project.path / "data" / "cat" / "4.bmp"
    assert not is_kept(project)
    before = path.stat()
    pixels = np.array(Image.open(path))
    Image.fromarray(255 - pixels).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert outcomes(run(project)) == {"passed": 1}  # the copy is none any more


def test_another_label_is_seen(project: pytest.Pytester) -> None:
    assert not is_kept(project)
    (project.path / "data" / "cat" / "4.bmp").rename(project.path / "data" / "dog" / "4.bmp")
    before = embedded(project)
    assert AGAIN not in reported(run(project))[0]
    assert embedded(project) == before  # the embeddings are kept by content


def test_of_more_images_the_new_ones_are_embedded(project: pytest.Pytester) -> None:
    assert not is_kept(project)
    before = embedded(project)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(project.path / "data" / "dog" / "new.bmp")
    assert "13 samples" in reported(run(project))[0]
    assert embedded(project) - before == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ToTensor()", "lambda image: 1 - ToTensor()(image)"),  # what the module is fed
        ("backbone=Pixels()", 'backbone=Pixels(), method="selfclean"'),
        ("backbone=Pixels()", "backbone=Pixels(), labels=[0, 1] * 6"),
        ("backbone=Pixels()", "backbone=Pixels(), thresholds=Thresholds(near_duplicates=0.3)"),
        ("backbone=Pixels()", 'backbone=Pixels(), group_key=[*"aabbccddeeff"], image_quality=0.5'),
    ],
)
def test_what_decides_the_scores_is_seen(project: pytest.Pytester, old: str, new: str) -> None:
    assert AGAIN not in reported(run(project))[0]
    change(project, old, new)
    assert AGAIN not in reported(run(project))[0]
    assert AGAIN in reported(run(project))[0]


def test_other_weights_are_seen(project: pytest.Pytester) -> None:
    change(project, "backbone=Pixels()", "backbone=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity(), part)")
    change(project, "    data =", "    part = torch.nn.BatchNorm1d(192)\n    part.weight.data[:] = 1\n    data =")
    assert AGAIN not in reported(run(project))[0]
    assert AGAIN in reported(run(project))[0]
    change(project, "weight.data[:] = 1", "weight.data[:] = 2")
    assert AGAIN not in reported(run(project))[0]


def test_limits_and_other_thresholds_need_no_new_audit(project: pytest.Pytester) -> None:
    assert not is_kept(project)
    change(project, "near_duplicates=0.01", "near_duplicates=0.5, label_errors=0.0, thresholds=THRESHOLDS")
    change(project, "def test", "THRESHOLDS = Thresholds(label_errors=0.0)\n\ndef test")
    (line,) = reported(run(project))
    assert line.startswith("passed ")
    assert line.endswith(AGAIN)
    change(project, "label_errors=0.0)", "label_errors=1.0)")
    (line,) = reported(run(project))
    assert line.startswith("FAILED ")
    assert "label errors 0.00%" not in line
    assert AGAIN in line
    change(project, "thresholds=THRESHOLDS", "thresholds=None")  # and not those of the audit that is kept
    (line,) = reported(run(project))
    assert "label errors 0.00%" in line
    assert AGAIN in line


def test_a_function_is_called_anew(project: pytest.Pytester) -> None:
    change(project, "backbone=Pixels()", "backbone=lambda batch: Pixels()(batch)")
    assert not is_kept(project)
    assert not is_kept(project)
    assert not cache(project, "selfclean-audits").exists()


@pytest.mark.usefixtures("features_alone")
def test_items_without_files_are_reported_by_their_content(pytester: pytest.Pytester) -> None:
    made_by_code = """
    class Items:
        def __len__(self):
            return 300

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            if index >= 300:
                raise IndexError
            return torch.rand(3, 4, 4, generator=generator) + (index == 74) * 0, 0

    def test_items():
        assert_clean(Items(), backbone=Pixels())
    """
    pytester.makepyfile(test_data=TEST.split("def test_images")[0] + "\n".join(x[4:] for x in made_by_code.split("\n")))
    assert not is_kept(pytester)
    assert is_kept(pytester)
    change(pytester, "* 0, 0", "* 1, 0")  # one item, not among those that fingerprints read
    before = embedded(pytester)
    assert AGAIN not in reported(run(pytester))[0]
    assert embedded(pytester) - before == 1


def test_an_encoder_is_trained_once(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    import selfclean_hooks.embedding.backbones.self_supervised

    monkeypatch.setattr("selfclean_hooks.embedding.backbones.self_supervised.EPOCHS", 1)
    change(project, "backbone=Pixels()", 'backbone="self-supervised"')
    first = run(project)
    assert AGAIN not in reported(first)[0]

    def never(*_: Any, **__: Any) -> None:
        raise RuntimeError("trained again")

    monkeypatch.setattr(selfclean_hooks.embedding.backbones.self_supervised, "pretrain", never)
    second = run(project)
    assert AGAIN in reported(second)[0]
    assert failure(first) == failure(second)


def test_a_damaged_audit_is_made_anew(project: pytest.Pytester) -> None:
    run(project)
    (place,) = cache(project, "selfclean-audits").iterdir()
    (place / "scores.npz").write_bytes(b"")
    assert AGAIN not in reported(run(project))[0]
    assert is_kept(project)


def test_no_cache_neither_reads_nor_keeps(project: pytest.Pytester) -> None:
    assert not is_kept(project, "--selfclean-no-cache")
    assert not cache(project, "selfclean-audits").exists()
    assert not cache(project, "embeddings.sqlite").exists()
    assert cache(project, "selfclean-reports").exists()  # of the failure
    assert not is_kept(project)
    assert not is_kept(project, "--selfclean-no-cache")


def test_cache_clear_clears(project: pytest.Pytester) -> None:
    assert not is_kept(project)
    assert is_kept(project)
    assert not is_kept(project, "--cache-clear")
    assert is_kept(project)


def test_a_chosen_folder(project: pytest.Pytester) -> None:
    folder = project.path / "kept"
    assert not is_kept(project, "--selfclean-cache", "kept")
    assert {path.name for path in folder.iterdir()} == {"embeddings.sqlite", "selfclean-audits", "selfclean-reports"}
    assert not cache(project).exists()
    (folder / "mine.txt").write_text("stays")
    assert is_kept(project, "--selfclean-cache", "kept")
    assert not is_kept(project, "--selfclean-cache", "kept", "--cache-clear")
    assert (folder / "mine.txt").read_text() == "stays"


def test_a_folder_of_the_project(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nselfclean_cache = kept")
    assert not is_kept(project)
    assert (project.path / "kept" / "selfclean-audits").exists()
    assert is_kept(project)


def test_a_folder_that_cannot_be_made_is_a_usage_error(project: pytest.Pytester) -> None:
    result = run(project, "--selfclean-cache", "data/cat/0.bmp")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the folder for audits */data/cat/0.bmp cannot be made (File exists): give *"])


def test_without_the_cache_of_pytest_nothing_is_kept(project: pytest.Pytester) -> None:
    assert not is_kept(project, "-p", "no:cacheprovider")
    result = run(project, "-p", "no:cacheprovider")
    assert AGAIN not in reported(result)[0]
    assert not (project.path / ".pytest_cache").exists()
    assert "give report=FOLDER" in failure(result)[-1]


def test_a_cache_that_cannot_be_written_fails_no_test(project: pytest.Pytester) -> None:
    (project.path / ".pytest_cache").write_text("in the way")
    change(project, "near_duplicates=0.01", "near_duplicates=0.5")
    result = run(project)
    assert outcomes(result) == {"passed": 1}
    result.stdout.fnmatch_lines(["*no audit is kept: pytest's cache folder cannot be written*"])


def test_what_was_not_used_for_longest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfclean_hooks_pytest.audit_cache, "KEPT", 2)
    found = audit_embeddings(np.eye(4))
    for at, name in enumerate(("a", "b", "c")):
        selfclean_hooks_pytest.audit_cache._keep(found, tmp_path / name)
        os.utime(tmp_path / name, (at, at))
        if name == "b":
            assert selfclean_hooks_pytest.audit_cache._kept(tmp_path / "a") is not None
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}


def test_another_process_may_be_quicker(tmp_path: Path) -> None:
    class Slow:
        """Another process puts its audit in place while this one is saved."""

        def save(self, folder: Path) -> None:
            folder.mkdir()
            (folder / "scores.npz").write_text("of the slow one")
            shutil.copytree(folder, tmp_path / "key")
            (tmp_path / "key" / "scores.npz").write_text("of the quick one")

    selfclean_hooks_pytest.audit_cache._keep(Slow(), tmp_path / "key")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key" / "scores.npz").read_text() == "of the quick one"


def test_it_loses_the_race_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        target.mkdir()
        (target / "scores.npz").write_text("of the quick one")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    selfclean_hooks_pytest.audit_cache._keep(audit_embeddings(np.eye(4)), tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key" / "scores.npz").read_text() == "of the quick one"
