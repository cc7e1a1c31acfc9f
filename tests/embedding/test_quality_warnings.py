"""When an audit doubts its representation, and where it says so."""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, audit, audit_embeddings
from selfclean_hooks.core.embeddings import QualityFigures, RepresentationQuality
from selfclean_hooks.errors import DataWarning
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.html.page import render
from tests.embedding.small_modules import CLASSES, Net, Signals, clusters, figures


def made(own: QualityFigures, other: QualityFigures | None, **changes: Any) -> RepresentationQuality:
    return replace(RepresentationQuality(400, 100, own, other, chance=0.1, gain_error=0.01), **changes)


def test_features_that_say_less_of_the_labels_than_random_ones_are_doubted() -> None:
    drowned = Net(keep=slice(CLASSES, 16))
    with pytest.warns(DataWarning, match="separates labels no better than random weights: 3.*Its label"):
        found = audit(Signals(), drowned, progress=False)
    assert any("separates labels no better" in note for note in found.provenance["notes"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the representation")
        fine = audit(Signals(), Net(), progress=False)
    assert not any("representation" in note for note in fine.provenance["notes"])


FINE = QualityFigures(0.2, 0.4, 0.5)


@pytest.mark.parametrize(
    ("own", "other", "doubt"),
    [
        (FINE, FINE, "labels no better"),  # the very same
        (QualityFigures(0.2, 0.4, 0.509), FINE, "labels no better"),  # within the standard error
        (QualityFigures(0.2, 0.4, 0.511), FINE, ""),
        (QualityFigures(0.2, 0.4, 0.30), FINE, "labels no better"),
        (QualityFigures(0.2, 0.4, 0.56), QualityFigures(0.2, 0.4, 0.60), ""),  # more than half way from chance to 1
        (QualityFigures(0.2, 0.4, None), QualityFigures(0.2, 0.4, None), ""),
        (QualityFigures(0.2, 0.12, 0.7), FINE, ""),  # training lowers ranks
        (
            QualityFigures(0.2, 0.04, 0.7),
            FINE,
            r"RankMe of its centred features is 4.00 of 100, 40.00 with random weights",
        ),
        (QualityFigures(0.0101, 0.4, 0.7), FINE, r"RankMe of its features is 1.01 of 100, 20.00 with random"),
        (QualityFigures(0.013, 0.4, 0.7), FINE, ""),  # a large mean, and much beside it
        (QualityFigures(0.0101, 0.4, 0.7), QualityFigures(0.0105, 0.4, 0.5), ""),  # that is how this network is
        (QualityFigures(0.01, 0.01, 0.1), None, ""),
    ],
)
def test_doubts(own: QualityFigures, other: QualityFigures | None, doubt: str) -> None:
    found = made(own, other).warnings()
    assert len(found) == bool(doubt)
    for text in found:
        assert re.search(doubt, text)


def test_what_measured_encoders_gave() -> None:
    """Of 1,000 contaminated Fashion-MNIST samples: (rank, centred rank, agreement) beside random weights."""
    random_small, random_large = QualityFigures(0.096, 0.448, 0.530), QualityFigures(0.078, 0.283, 0.535)
    healthy = {
        "pretrained on photographs": (QualityFigures(0.505, 0.555, 0.602), random_large, 0.008),
        "supervised, one epoch": (QualityFigures(0.072, 0.131, 0.558), random_small, 0.007),
        "supervised, two classes, 30 epochs": (QualityFigures(0.265, 0.550, 1.0), random_small, 0.008),
        "self-supervised beside pixels": (
            QualityFigures(0.330, 0.414, 0.601),
            QualityFigures(0.324, 0.438, 0.598),
            0.005,
        ),
        "lagging batch statistics": (QualityFigures(0.122, 0.417, 0.636), random_small, 0.006),
    }
    sick = {
        "views pulled together and nothing apart": (QualityFigures(0.062, 0.113, 0.440), random_small, 0.007),
        "trained on random labels": (QualityFigures(0.199, 0.386, 0.512), random_small, 0.005),
        "another draw of random weights": (QualityFigures(0.081, 0.467, 0.514), random_large, 0.005),
        "two dimensions left": (QualityFigures(0.014, 0.016, 0.270), random_small, 0.011),
        "constant but for noise": (QualityFigures(0.0078, 0.433, 0.712), random_small, 0.008),
    }
    for expected, cases in ((False, healthy), (True, sick)):
        for name, (own, other, error) in cases.items():
            found = RepresentationQuality(1000, 128, own, other, 0.1, error).warnings()
            assert bool(found) == expected, name


@pytest.mark.parametrize(
    ("before", "now", "in_doubt"),
    [(0.5, 0.31, False), (0.5, 0.29, True), (0.12, 0.2, False), (None, 0.2, False), (0.5, None, False)],
)
def test_a_later_audit_must_show_labels_half_as_well(before: float | None, now: float | None, in_doubt: bool) -> None:
    def quality(agreement: float | None) -> RepresentationQuality:
        return made(QualityFigures(0.3, 0.4, agreement), None)

    doubts = quality(now).doubts(quality(before))
    assert bool(doubts) == in_doubt
    assert quality(now).doubts(None) == ()


def test_it_is_saved_loaded_and_shown(tmp_path: Path) -> None:
    found = audit(Signals(), Net(), progress=False)
    found.save(tmp_path)
    loaded = Audit.load(tmp_path)
    assert figures(loaded) == figures(found)
    assert json.loads((tmp_path / "manifest.json").read_text())["fitness"]["samples"] == 200
    assert json.loads(as_json(loaded))["fitness"] == figures(found).as_dict()
    page = render(loaded)
    assert "random weights</th>" in page
    assert f"{figures(found).own.agreement:.2%}" in page
    assert figures(found).describe().startswith("representation quality (200 samples): k-NN label agreement ")
    assert figures(found).describe().endswith("%)")


@pytest.mark.parametrize("reported", [None, 3, {}, {"own": {}}, {"own": {"rank": 1}, "random": None}])
def test_what_older_or_odd_manifests_hold_is_no_fitness(reported: Any) -> None:
    vectors, labels = clusters()
    found = audit_embeddings(vectors, labels)
    odd = replace(found, provenance={**found.provenance, "fitness": reported})
    assert odd.fitness is None
    assert "random weights</th>" not in render(odd)
    without = replace(found, provenance={key: value for key, value in found.provenance.items() if key != "fitness"})
    assert without.fitness is None
    assert json.loads(as_json(without))["fitness"] is None


def test_the_command_line_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from selfclean_hooks.cli.main import main

    vectors, labels = clusters()
    np.savez(tmp_path / "data.npz", embeddings=vectors, labels=labels)
    arguments = ["audit", str(tmp_path / "data.npz"), "-o", str(tmp_path / "out"), "--no-progress", "-v"]
    assert main(arguments) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("representation")]
    assert shown == [figures(Audit.load(tmp_path / "out")).describe()]
    assert "(chance " in shown[0]


def test_without_labels_the_rank_alone_is_described() -> None:
    own = QualityFigures(0.5, 0.5, None)
    assert made(own, None).describe().endswith("(400 samples): RankMe 50.0% of 100")
