"""From the audit of a folder of images to the cleaned folder, with review decisions in between."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfclean_hooks import Audit
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.decisions.review.file import write_review
from selfclean_hooks.decisions.review.marks import Mark, Review
from tests.helpers.command_line import Call, Ran, contents, refused
from tests.helpers.review_data import mark

N = 200


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Handwritten digits in class folders: some twice, some in the folder of another class, one of noise."""
    digits, folder = load_digits(), tmp_path_factory.mktemp("data") / "digits"
    values = (digits.images[:N] * 15.9).astype(np.uint8)
    for i, (image, label) in enumerate(zip(values, digits.target[:N], strict=True)):
        label = (label + 3) % 10 if i in (50, 90, 130) else label
        _write(folder / str(label) / f"{i:03}.png", image)
    for i in (3, 7, 11):
        _write(folder / str(digits.target[i]) / f"{i:03}_again.png", values[i])
    _write(folder / "0" / "noise.png", np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8))
    return folder


def _write(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC).save(path)


def pixels_of(batch: Any) -> Any:
    """An encoder: the pixels themselves."""
    return batch.mean(1)[:, ::4, ::4].flatten(1)


ENCODER = ("--backbone", "tests.cli.test_review_command:pixels_of", "--no-progress")


@pytest.fixture(scope="module")
def found(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from selfclean_hooks.cli import main as cli

    out = tmp_path_factory.mktemp("audited") / "audit"
    assert cli.main(["audit", str(images), "-o", str(out), *ENCODER]) == 0
    return out


@pytest.fixture
def saved(found: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(found, tmp_path / "audit"))


def decisions_on(audit: Audit) -> list[Mark]:
    """A verdict on every finding, the truth being in the names: and one sample that nothing speaks against."""
    d, marks = audit.decisions, []
    names = [Path(name).name for name in audit.names or ()]
    for i in d.surplus.nonzero()[0].tolist():
        kept = d.duplicates.of(i)[1]
        same = names[i].removesuffix("_again.png") == names[kept].removesuffix(".png") or "again" in names[kept]
        marks.append(mark(audit, "near_duplicates", "confirmed" if same else "rejected", i, kept))
    for i in audit.worst("off_topic").tolist():
        marks.append(mark(audit, "off_topic", "confirmed" if names[i] == "noise.png" else "rejected", i))
    for i in audit.worst("label_errors").tolist():
        number = names[i][:3]
        if number in ("050", "090"):
            marks.append(mark(audit, "label_errors", "confirmed", i))
        elif number == "130":
            label = str(load_digits().target[130])
            marks.append(mark(audit, "label_errors", "relabelled", i, label=label))
        else:
            marks.append(mark(audit, "label_errors", "rejected", i))
    return marks


def notes_of(ran: Ran) -> str:
    return " ".join(ran.err.split())


def test_the_whole_way_from_findings_to_clean_data(images: Path, saved: Path, tmp_path: Path, call: Call) -> None:
    audit = Audit.load(saved)
    names = [Path(name).name for name in audit.names or ()]
    marks = decisions_on(audit)
    planted = {"050.png", "090.png", "130.png"}
    assert {names[m.index] for m in marks if m.verdict != "rejected"} >= planted, "what was planted was found"
    file = tmp_path / "decisions.json"
    write_review(Review(tuple(marks), {}, {"label_errors": 9}, dataset="digits"), file)

    # audited again: what was confirmed goes, all else stays
    out = tmp_path / "again"
    ran = call("audit", images, "-o", out, "--decisions", file, *ENCODER)
    assert ran.status == 0
    by = {v: [m for m in marks if m.verdict == v] for v in ("confirmed", "rejected", "relabelled")}
    counts = ", ".join(f"{len(of)} {verdict}" for verdict, of in by.items() if of)
    assert f"decisions: {len(marks)} marks ({counts})" in notes_of(ran)
    assert "match nothing" not in notes_of(ran)
    gone = {names[m.index] for m in by["confirmed"]}
    kept = [int(line) for line in (out / "clean_indices.txt").read_text().split()]
    assert {names[i] for i in range(len(names))} - {names[i] for i in kept} == gone
    after = Audit.load(out)
    assert {issue: len(after.worst(issue)) for issue in ("near_duplicates", "off_topic", "label_errors")} == {
        issue: sum(m.issue == issue for m in by["confirmed"])
        for issue in ("near_duplicates", "off_topic", "label_errors")
    }
    assert [line.split(",")[2:] for line in (out / "relabelled.csv").read_text().splitlines()] == [
        ["given_label", "new_label"],
        [str((load_digits().target[130] + 3) % 10), str(load_digits().target[130])],
    ]

    # a gate on the first audit says the same, and changes nothing
    before = contents(saved)
    total = f"count:{len({m.index for m in by['confirmed']})}"
    assert call("gate", saved, "--decisions", file, "--max-total", total).status == 0
    ran = call("gate", saved, "--decisions", file, "--max-total", "0")
    assert ran.status == 1
    assert f"decisions: {len(marks)} marks" in notes_of(ran)
    assert call("gate", out, "--max-total", total).status == 0, "the audit kept what was decided"
    assert contents(saved) == before
    assert call("report", saved, "--decisions", file).status == 0
    assert {name for name, digest in contents(saved).items() if digest != before[name]} <= {"report.html"}

    # the cleaned data pass, with the decisions and with the baseline alone
    accepted = tmp_path / "accepted.jsonl"
    ran = call("gate", out, "--baseline", accepted, "--update-baseline")
    assert ran.status == 1, "what is to be dropped is there still"
    samples = len({m.index for m in by["confirmed"]})
    assert f"not accepted: {samples} samples that reviewers dropped, 1 labels that they corrected" in notes_of(ran)
    lines = [json.loads(line) for line in accepted.read_text().splitlines()[1:]]
    entries = [line for line in lines if "threshold" not in line]
    assert entries, "there is something that people found fine"
    assert all(entry["note"] == "reviewed: not an issue" for entry in entries)
    clean = Path(shutil.copytree(images, tmp_path / "clean"))
    for path in list(clean.rglob("*.png")):
        if path.name in gone:
            path.unlink()
        elif path.name == "130.png":
            path.rename(clean / str(load_digits().target[130]) / path.name)
    again = ("audit", clean, "-o", tmp_path / "last", *ENCODER)
    ran = call(*again, "--baseline", accepted)
    assert ran.status == 0, ran.out
    ran = call(*again, "--decisions", file, "--max-total", "0")
    assert ran.status == 0, ran.out
    assert f"{len(by['confirmed']) + len(by['relabelled'])} match nothing here: " in notes_of(ran)


def test_marks_that_match_nothing_are_reported_and_ignored(saved: Path, tmp_path: Path, call: Call) -> None:
    lost = [Mark("off_topic", "confirmed", i, f"gone/{i}.png", f"{i:032x}") for i in range(7)]
    write_review(Review(tuple(lost)), tmp_path / "a.json")
    write_review(Review((Mark("off_topic", "rejected", 1, split="val"),), split="val"), tmp_path / "b.json")
    ran = call("gate", saved, "--decisions", tmp_path / "a.json", "--decisions", tmp_path / "b.json")
    assert ran.status == 0
    assert notes_of(ran) == (
        "decisions: 8 marks (7 confirmed, 1 rejected), 8 match nothing here: gone/0.png, gone/1.png, gone/2.png, "
        "gone/3.png, gone/4.png, ... (1 about the split val)"
    )


def test_rows_of_fine_samples_and_new_labels_are_reported(saved: Path, tmp_path: Path, call: Call) -> None:
    audit = Audit.load(saved)
    ranking = audit.ranking("label_errors")["index"].tolist()
    marks = [mark(audit, "label_errors", "relabelled", ranking[0], label="ten")]
    marks += [mark(audit, "label_errors", "rejected", i) for i in ranking[1:60]]
    write_review(Review(tuple(marks)), tmp_path / "decisions.json")
    ran = call("gate", saved, "--decisions", tmp_path / "decisions.json", "--max-label-errors", "0")
    assert ran.status == 0
    assert "decisions: 60 marks (59 rejected, 1 relabelled); new labels that no sample has: ten" in notes_of(ran)
    assert "label_errors: 59 consecutive non-issues from rank 2 on: reviewing can stop" in notes_of(ran)


def test_thresholds_of_the_reviewer_give_way_to_those_asked_for(saved: Path, tmp_path: Path, call: Call) -> None:
    write_review(Review((), {"label_errors": 0.0, "off_topic": 0.0}), tmp_path / "decisions.json")
    given = ("gate", saved, "--decisions", tmp_path / "decisions.json", "--format", "json")

    def thresholds(*more: str) -> dict[str, float]:
        return {row["issue"]: row["threshold"] for row in json.loads(call(*given, *more).out)["summary"]}

    assert (thresholds()["label_errors"], thresholds()["off_topic"]) == (0, 0)
    assert (
        thresholds("--threshold", "off-topic=0.3")["label_errors"],
        thresholds("--threshold", "off-topic=0.3")["off_topic"],
    ) == (
        0,
        0.3,
    )


def test_an_audit_lists_the_pairs_that_the_reviewers_threshold_asks_for(
    images: Path, tmp_path: Path, call: Call
) -> None:
    write_review(Review((), {"near_duplicates": 0.4}), tmp_path / "decisions.json")
    ran = call("audit", images, "-o", tmp_path / "out", "--decisions", tmp_path / "decisions.json", *ENCODER)
    assert ran.status in (0, 2), ran.err  # 2: so high a threshold flags most of the data
    assert "pairs were kept up to" not in ran.err


@pytest.mark.parametrize("command", ["audit", "gate", "report"])
def test_a_file_that_is_none_is_refused_at_once(command: str, saved: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "bad.json").write_text('{"kind": "report"}')
    before = contents(saved)
    source = [saved.parent, "-o", tmp_path / "out"] if command == "audit" else [saved]
    why = refused(call(command, *source, "--decisions", tmp_path / "bad.json"))
    assert "bad.json must be a file of decisions: kind must be 'selfclean-hooks decisions', got 'report'" in why
    assert contents(saved) == before


def test_splits_take_what_is_theirs(tmp_path: Path, call: Call, splits: list[str]) -> None:
    assert call("audit", *splits, "-o", tmp_path / "out", "--no-progress").status == 0
    found = SplitsAudit.load(tmp_path / "out")
    leaks = found.audits["train"].scores.leaks
    assert leaks is not None
    pair = int((leaks.index == 4).nonzero()[0][0])
    other: dict[str, Any] = {"other_index": int(leaks.other_index[pair]), "other_split": leaks.other_split(pair)}
    digest = (leaks.other_digests or ("",) * len(leaks))[pair]
    about = mark(found.audits["train"], "leakage", "rejected", 4, split="train", **other, other_digest=digest)
    write_review(Review((about,), split="train"), tmp_path / "train.json")
    write_review(Review((Mark("off_topic", "confirmed", 3, split="fit"),), split="fit"), tmp_path / "fit.json")
    ran = call(
        "gate", tmp_path / "out", *(x for f in ("train", "fit") for x in ("--decisions", tmp_path / f"{f}.json"))
    )
    assert ran.status == 0
    assert (
        "decisions: 2 marks (1 confirmed, 1 rejected), 1 match nothing here: sample 3 (there is no split fit)"
        in notes_of(ran)
    )
    assert "near duplicates in two splits: 4 pairs" in ran.out, "it was 5 before"
    assert call("report", tmp_path / "out", "--decisions", tmp_path / "train.json").status == 0


@pytest.fixture
def splits(tmp_path: Path) -> list[str]:
    from tests.helpers.command_line import write_splits

    return write_splits(tmp_path)
