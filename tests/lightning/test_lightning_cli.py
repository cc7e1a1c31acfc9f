"""`DataAudit` configured in the YAML of a LightningCLI."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import pytorch_lightning
import pytorch_lightning.cli
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from torch import nn

from selfclean_hooks import Limits, Policy, Thresholds
from tests.lightning.fits import Module, N, train_data, val_data
from tests.lightning.processes.parallel_fits import BATCH, Calm, dropped, trained

TRAINER: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 2,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SETTINGS: dict[str, Any] = {
    "policy": {"near_duplicates": "drop", "label_errors": "drop", "max_drop_fraction": 0.4},
    "thresholds": {"near_duplicates": 0.01, "off_topic": None, "label_errors": 0.3},
    "limits": {"unreadable": 0.0, "near_duplicates": 0.5},
    "backbone": {"class_path": "torch.nn.Flatten"},
    "audit_epochs": [0, 1],
    "leakage": "drop",
    "batch_size": 50,
}


class Digits(Module):
    def __init__(self) -> None:
        super().__init__(train_data(), val_data(4), BATCH)


def written(folder: Path, settings: dict[str, Any], class_path: str = "selfclean_hooks_lightning.DataAudit") -> Path:
    audit = {"class_path": class_path, "init_args": {"output_dir": str(folder / "audit"), **settings}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"trainer": {**TRAINER, "callbacks": [audit]}}))
    return path


def run(*arguments: Any, model: Any = Calm, data: Any = Digits, cli: Any = LightningCLI, **settings: Any) -> Any:
    return cli(model, data, args=[str(a) for a in arguments], save_config_callback=None, **settings)


def callback_of(made: Any) -> Any:
    return next(c for c in made.trainer.callbacks if type(c).__name__ == "DataAudit")


def test_a_fit_with_everything_nested(tmp_path: Path) -> None:
    made = run("fit", "--config", written(tmp_path, SETTINGS))
    callback = callback_of(made)
    settings = callback.settings
    assert settings.policy == Policy("drop", "warn", "drop", "warn", 0.4, "drop")
    assert settings.thresholds == Thresholds(0.01, None, 0.3)
    assert settings.limits == Limits(near_duplicates=0.5, unreadable=0.0)
    assert isinstance(settings.backbone, nn.Flatten)
    assert (settings.epochs, settings.embedding.batch_size, settings.output_dir) == ((0, 1), 50, tmp_path / "audit")
    assert trained(made.model, 1) == set(range(N)) - dropped(callback)
    assert sorted(path.name for path in (tmp_path / "audit").glob("epoch=*")) == ["epoch=0", "epoch=1"]
    assert (tmp_path / "audit" / "report.html").exists()


@pytest.mark.parametrize("name", ["auto", "self-supervised", "resnet18", "encoder", None])
def test_a_backbone_by_name(name: str | None, tmp_path: Path) -> None:
    made = run("--config", written(tmp_path, {"backbone": name}), run=False)
    assert callback_of(made).settings.backbone == name


def test_defaults_are_those_of_the_class(tmp_path: Path) -> None:
    from selfclean_hooks_lightning import DataAudit

    made = run("--config", written(tmp_path, {}), run=False)
    assert callback_of(made).settings == DataAudit(output_dir=tmp_path / "audit").settings


def test_from_the_command_line_alone(tmp_path: Path) -> None:
    made = run(
        "--trainer.callbacks=selfclean_hooks_lightning.DataAudit",
        "--trainer.callbacks.init_args.policy.near_duplicates=drop",
        "--trainer.callbacks.init_args.thresholds.off_topic=0.2",
        "--trainer.callbacks.init_args.limits.leakage=0.1",
        "--trainer.callbacks.init_args.audit_epochs=[0,3]",
        f"--trainer.callbacks.init_args.output_dir={tmp_path}",
        run=False,
    )
    settings = callback_of(made).settings
    assert settings.policy == Policy(near_duplicates="drop")
    assert settings.thresholds == Thresholds(off_topic=0.2)
    assert settings.limits == Limits(leakage=0.1)
    assert (settings.epochs, settings.output_dir) == ((0, 3), tmp_path)


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"policy": {"off_topic": "remove"}}, ["off_topic", "remove", "drop"]),
    ({"policy": {"duplicates": "drop"}}, ["duplicates"]),
    ({"policy": {"max_drop_fraction": 3}}, ["max_drop_fraction must be in [0, 1], got 3"]),
    (
        {"thresholds": {"off_topic": 7}},
        ['the threshold of off_topic must be "auto", a score in [0, 1], FDR(...), Top(...) or None, got 7'],
    ),
    ({"limits": {"leakage": -1}}, ["the limit of leakage must be a fraction in [0, 1] or None, got -1"]),
    ({"audit_epochs": [-1]}, ["audit_epochs must be whole numbers from 0 (before the first step), as (0, 5), got"]),
    ({"batch_size": 0}, ["batch_size must be a whole number of at least 1"]),
    ({"method": "paper"}, ["method", "paper", "selfclean"]),
    ({"leakage": "maybe"}, ["leakage", "maybe", "drop"]),
    ({"bakcbone": "auto"}, ["bakcbone"]),
]


@pytest.mark.parametrize(("settings", "parts"), BAD, ids=[str(settings) for settings, _ in BAD])
def test_a_bad_value_is_named(
    settings: dict[str, Any], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((SystemExit, ValueError)) as raised:
        run("--config", written(tmp_path, settings), run=False)
    reported = " ".join((str(raised.value) + capsys.readouterr().err).split())
    assert [part for part in parts if part not in reported] == []


def test_printed_config_is_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--config", written(tmp_path, SETTINGS), "--print_config", run=False)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    given = yaml.safe_load(printed)["trainer"]["callbacks"][0]["init_args"]
    assert given["policy"]["near_duplicates"] == "drop"
    again = tmp_path / "printed.yaml"
    again.write_text(printed)
    first = callback_of(run("--config", written(tmp_path, SETTINGS), run=False)).settings
    second = callback_of(run("--config", again, run=False)).settings
    assert repr(first) == repr(second)


def test_the_config_of_a_run_is_saved_beside_it(tmp_path: Path) -> None:
    path = written(tmp_path, {"backbone": {"class_path": "torch.nn.Flatten"}})
    args = ["fit", "--config", str(path), f"--trainer.default_root_dir={tmp_path}", "--trainer.logger=CSVLogger"]
    args.append(f"--trainer.logger.save_dir={tmp_path}")
    LightningCLI(Calm, Digits, args=args)
    saved = next(tmp_path.glob("lightning_logs/*/config.yaml"))
    kept = yaml.safe_load(saved.read_text())["trainer"]["callbacks"][0]
    assert kept["class_path"] == "selfclean_hooks_lightning.DataAudit"
    assert kept["init_args"]["output_dir"] == str(tmp_path / "audit")


class Other(pytorch_lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(64, 10), dict[int, list[int]]()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.setdefault(self.current_epoch, []).extend(batch[2].tolist())
        return nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05)


class OtherDigits(pytorch_lightning.LightningDataModule):
    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(train_data(), BATCH)


def test_pytorch_lightning_cli(tmp_path: Path) -> None:
    path = written(tmp_path, SETTINGS, "selfclean_hooks_lightning.pytorch_lightning.DataAudit")
    made = run("fit", "--config", path, model=Other, data=OtherDigits, cli=pytorch_lightning.cli.LightningCLI)
    assert isinstance(made.trainer, pytorch_lightning.Trainer)
    assert not isinstance(made.trainer, lightning.Trainer)
    assert trained(made.model, 1) == set(range(N)) - dropped(callback_of(made))


def test_the_class_of_the_other_package_is_refused_by_the_cli(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(
            "--config",
            written(tmp_path, SETTINGS),
            model=Other,
            data=OtherDigits,
            cli=pytorch_lightning.cli.LightningCLI,
            run=False,
        )
    assert "selfclean_hooks_lightning.DataAudit" in capsys.readouterr().err


CALL = {"class_path": "os.system", "init_args": {"command": "touch CANARY"}}
SHAPES: list[dict[str, Any]] = [
    {"backbone": CALL},
    {"backbone": [CALL]},
    {"backbone": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "CANARY"]}}},
    {"backbone": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 1, "device": CALL}}},
    {"backbone": {"class_path": "torch.nn.Sequential", "init_args": {"args": [CALL]}}},
    {"backbone": {"class_path": "pathlib.Path.touch", "init_args": {"self": "CANARY"}}},
    {"held_out": CALL},
    {"held_out": {"test": CALL}},
    {"held_out": {"test": [CALL]}},
    {"held_out": {"test": {"class_path": "torch.utils.data.TensorDataset", "init_args": {"tensors": CALL}}}},
    {"policy": {"keep": CALL}},
    {"thresholds": {"label_errors": CALL}},
    {"limits": {"not_run": [CALL]}},
    {"timeout": CALL},
    {"cache_dir": CALL},
    {"group_key": CALL},
]


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_a_file_runs_no_code(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((SystemExit, ValueError)):
        run("--config", written(tmp_path, settings), run=False)
    assert not (tmp_path / "CANARY").exists()


def test_a_file_gives_modules_and_data_sets_with_plain_arguments(tmp_path: Path) -> None:
    flat = {"class_path": "torch.nn.Flatten", "init_args": {"start_dim": 2}}
    held_out = {"test": {"class_path": f"{__name__}.Few", "init_args": {"n": 7}}}
    made = callback_of(run("--config", written(tmp_path, {"backbone": flat, "held_out": held_out}), run=False))
    assert made.settings.backbone.start_dim == 2
    assert len(made.settings.held_out["test"]) == 7


class Few(torch.utils.data.Dataset[int]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n
