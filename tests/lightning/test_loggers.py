"""What the loggers get of an audit: metrics and images, once each, at the right step."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from selfclean_hooks import Audit
from tests.lightning.fits import DROP, Module, N, audit_callback, train_data, trainer, val_data
from tests.lightning.processes.parallel_fits import BATCH, Calm, Sorted, dropping, fitted, loader

NAMES = ("near_duplicates", "off_topic", "label_errors", "leakage", "unreadable", "kept_fraction", "rank_me")
IMAGED = ("near_duplicates", "off_topic", "label_errors")


class Noting(Logger):
    """Keeps what it is reported of audits; with `log_image` as Weights & Biases has it."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "noting"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *arguments: Any, **settings: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if audited := {name: value for name, value in metrics.items() if name.startswith("audit/")}:
            self.reported.append((step, audited))


class Drawing(Noting):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, int | None, np.ndarray[Any, Any]]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        assert kwargs == {}
        for image in images:
            self.images.append((key, step, image))


class Rated(Calm):
    lr = 0.05


def expected(audit: Audit, name: str = "") -> dict[str, float]:
    figures = {
        **audit.contamination,
        "kept_fraction": len(audit.clean_indices) / len(audit),
        "rank_me": audit.provenance["encoder"]["rank_me"],
    }
    assert set(figures) == set(NAMES) - ({"leakage"} - set(audit.contamination))
    return {f"audit/{name}{key}": value for key, value in figures.items()}


def test_tensorboard_scalars_and_images_read_back(tmp_path: Path) -> None:
    callback, logger = dropping(), TensorBoardLogger(tmp_path)
    fitted(callback, logger=logger, max_epochs=1)
    logger.experiment.flush()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    figures = expected(callback.audit)
    assert {tag for tag in events.Tags()["scalars"] if tag.startswith("audit/")} == set(figures)
    for tag, value in figures.items():
        scalars = events.Scalars(tag)
        assert [event.step for event in scalars] == [0]
        assert scalars[0].value == pytest.approx(value)
    assert 0.5 < figures["audit/kept_fraction"] < 0.9
    assert set(events.Tags()["images"]) == {f"audit/{issue}" for issue in IMAGED}
    for issue in IMAGED:
        images = events.Images(f"audit/{issue}")
        assert [event.step for event in images] == [0]
        assert min(images[0].width, images[0].height) > 50
        assert images[0].encoded_image_string.startswith(b"\x89PNG")


def test_csv_and_several_loggers_get_the_same(tmp_path: Path) -> None:
    callback, in_file, noting, drawing = dropping(), CSVLogger(tmp_path), Noting(), Drawing()
    fitted(callback, logger=[in_file, noting, drawing], max_epochs=1)
    figures = expected(callback.audit)
    assert noting.reported == drawing.reported == [(0, figures)]
    with open(Path(in_file.log_dir) / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["audit/off_topic"]]
    assert len(rows) == 1
    assert {name: float(rows[0][name]) for name in figures} == pytest.approx(figures)
    assert rows[0]["step"] == "0"


def test_images_go_to_a_logger_with_log_image() -> None:
    callback, logger = dropping(), Drawing()
    fitted(callback, logger=logger, max_epochs=1)
    assert [(key, step) for key, step, _ in logger.images] == [(f"audit/{issue}", 0) for issue in IMAGED]
    for _, _, image in logger.images:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.std() > 0


@pytest.mark.parametrize("logger", [False, None, []])
def test_no_logger_is_fine(logger: Any, tmp_path: Path) -> None:
    callback = dropping()
    net, made, _ = fitted(callback, logger=logger, max_epochs=1, default_root_dir=tmp_path)
    assert len(net.seen[0]) == len(callback.audit.clean_indices)
    assert len(made.loggers) == (1 if logger is None else 0)


def test_each_audit_is_logged_once_at_the_step_it_was_made_before() -> None:
    callback, logger = dropping(audit_epochs=(0, 2)), Drawing()
    fitted(callback, logger=logger, max_epochs=4)
    steps = 2 * math.ceil(N * logger.reported[0][1]["audit/kept_fraction"] / BATCH - 1e-9)  # of two epochs
    assert [step for step, _ in logger.reported] == [0, steps]
    assert logger.reported[1][1] == expected(callback.audit)
    assert [step for _, step, _ in logger.images] == [0] * 3 + [steps] * 3


def test_an_audit_for_a_later_epoch_alone() -> None:
    callback, logger = dropping(audit_epochs=(1,)), Noting()
    fitted(callback, logger=logger, max_epochs=2, accumulate_grad_batches=2)
    assert [step for step, _ in logger.reported] == [3]  # optimizer steps, of 5 batches


def test_a_second_fit_that_needs_no_audit_logs_none() -> None:
    callback, logger, net, data = dropping(), Noting(), Calm(), Module(train_data(), val_data(4), BATCH)
    for _ in range(2):
        trainer(callback, logger=logger, max_epochs=1).fit(net, datamodule=data)
    assert len(logger.reported) == 1


def test_names_of_loaders_in_the_metrics() -> None:
    callback, logger = dropping(thresholds=None), Drawing()
    fitted(callback, net=Sorted(), data={"a": loader(), "b": [loader(70)]}, logger=logger, max_epochs=1)
    assert logger.reported == [
        (0, expected(callback.audits["a"], "a/")),
        (0, expected(callback.audits["b.0"], "b.0/")),
    ]
    assert {key for key, _, _ in logger.images} == {f"audit/{n}/{issue}" for n in ("a", "b.0") for issue in IMAGED}


@pytest.mark.parametrize(
    ("finder", "order"),
    [
        (LearningRateFinder(num_training_steps=20, update_attr=False), 1),
        (BatchSizeFinder(init_val=8, max_trials=2), -1),
    ],
)
def test_the_tuners_dummy_logger_gets_nothing(finder: Any, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(
        "lightning.pytorch.loggers.logger.DummyLogger.log_metrics", lambda self, metrics, **_: lost.append(metrics)
    )
    callback, logger = dropping(), Noting()
    fitted(*[finder, callback][::order], net=Rated(), logger=logger)
    assert logger.reported == [(0, expected(callback.audit))]
    assert not [metrics for metrics in lost if any(name.startswith("audit/") for name in metrics)]


@pytest.mark.parametrize("setting", [{"fast_dev_run": True}, {"limit_train_batches": 0}])
def test_nothing_is_logged_where_nothing_was_audited(setting: dict[str, Any]) -> None:
    logger = Noting()
    fitted(dropping(), logger=logger, **setting)
    assert logger.reported == []


def test_an_audit_that_stops_the_run_is_saved(tmp_path: Path) -> None:
    from selfclean_hooks import Limits
    from selfclean_hooks.errors import ContaminationError

    callback, logger = audit_callback(tmp_path, policy=DROP, limits=Limits(off_topic=0.0)), Noting()
    with pytest.raises(ContaminationError, match="off_topic"):
        fitted(callback, logger=logger)
    assert Audit.load(tmp_path).contamination["off_topic"] > 0
