"""What two processes of strategy "ddp" do and see, which were started as by torchrun or a cluster.

Each fit below is made by both processes; each writes what it saw to FOLDER/<rank>.json.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning
import torch
from torch import Tensor, nn

import selfclean_hooks.data.reader
import selfclean_hooks.embedding.backbones.self_supervised
import selfclean_hooks.embedding.embed
import selfclean_hooks.embedding.pretrain.run
from selfclean_hooks import Audit, Limits, Policy
from selfclean_hooks.cli import main as cli
from selfclean_hooks.data.reader import SampleReader
from selfclean_hooks.data.views.dataset_view import open_dataset
from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
from selfclean_hooks.embedding.encoders.encoder import weights_fingerprint
from selfclean_hooks_lightning import DataAudit
from tests.lightning.fits import DROP, LOOSE, Module, Net, audit_callback, train_data, trainer, val_data, weights
from tests.lightning.margins.margin_fits import Blended, Logged, callback_of
from tests.lightning.processes.ddp_parts import (
    FailsOn,
    Memory,
    OtherValidation,
    ShiftedBatchNorm,
    TestInOne,
    Unseeded,
    WithSampler,
    WithWeights,
)

TWO: dict[str, Any] = {"strategy": "ddp", "devices": 2}
WARN = Policy()
WITH_PIXELS = ("drops", "and again", "passed loaders", "own sampler", "module in training")  # others: features alone


class Seen(dict[str, Any]):
    """What one process saw of one fit: read for an embedding, saved, trained encoders."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        read, save, pretrain = SampleReader.__getitem__, Audit.save, selfclean_hooks.embedding.pretrain.run.pretrain
        self.update(read=[], saved=[], trained=0)

        def reads(reader: SampleReader, index: int) -> Any:
            self["read"].append([len(reader), index])
            return read(reader, index)

        def saves(audit: Audit, folder: Any) -> None:
            self["saved"].append(str(folder))
            save(audit, folder)

        def trains(*args: Any, **kwargs: Any) -> Any:
            self["trained"] += 1
            return pretrain(*args, **kwargs)

        with (
            patch.object(SampleReader, "__getitem__", reads),
            patch.object(Audit, "save", saves),
            patch.object(selfclean_hooks.embedding.backbones.self_supervised, "pretrain", trains),
            patch.object(selfclean_hooks.embedding.backbones.self_supervised, "EPOCHS", 1),
        ):
            yield


def seen_in(callback: DataAudit | None, model: Net, data: Module | None, fit: Callable[[], None]) -> Seen:
    """Run a fit, whether it fails or not."""
    seen = Seen()
    with seen.watching():
        try:
            fit()
            seen["error"] = None
        except Exception as error:  # what is raised is what the test asks for
            seen["error"] = [type(error).__name__, str(error)]
    seen.update(trained_on={str(epoch): positions for epoch, positions in model.seen.items()})
    seen.update(validated=sorted(set(model.validated)), total_steps=model.total_steps, weights=fingerprint(model))
    seen.update(undone=data is None or not {"train_dataloader", "val_dataloader"} & vars(data).keys())
    if callback is not None:
        seen.update(dropped={name: known.corrections.dropped.tolist() for name, known in callback._state.data.items()})
        seen.update(scores={name: audit.frame.to_json() for name, audit in callback.audits.items()})
        seen.update(encoder={name: audit.provenance["encoder"] for name, audit in callback.audits.items()})
        seen.update(notes={name: audit.provenance["notes"] for name, audit in callback.audits.items()})
        seen.update(leakage={name: audit.leakage.to_json() for name, audit in callback.audits.items()})
    return seen


def fingerprint(model: nn.Module) -> str:
    return weights_fingerprint(model)


def fitted(callback: DataAudit | None, data: Module, model: Net | None = None, **settings: Any) -> Seen:
    """A fit of two processes; `logger` and `more` callbacks may be passed."""
    model = Net(scheduled=True) if model is None else model
    more, ckpt_path = settings.pop("more", []), settings.pop("ckpt_path", None)
    callbacks = [*more, *([] if callback is None else [callback])]
    run = trainer(*callbacks, **{**TWO, **settings})
    seen = seen_in(callback, model, data, lambda: run.fit(model, datamodule=data, ckpt_path=ckpt_path))
    return Seen(seen, steps=run.global_step, rank=run.global_rank)


def drops(folder: Path) -> Seen:
    logger = Memory()
    callback = audit_callback(folder / "drops", policy=DROP)
    data = Module(train_data(), val_data(leaking=5))
    seen = fitted(callback, data, logger=logger, max_epochs=3)
    return Seen(seen, logged=logger.reported, calls=data.calls)


def passed_loaders(folder: Path) -> Seen:
    """Loaders passed to `fit`, one read by a worker."""
    source = Module(train_data(), val_data(), num_workers=1)
    callback, model = audit_callback(None, policy=DROP), Net()
    run = trainer(callback, **TWO, max_epochs=1)
    return seen_in(callback, model, None, lambda: run.fit(model, source.train_dataloader(), source.val_dataloader()))


class Snapshots(lightning.Callback):
    """The weights of each process when an audit is about to be made, and after it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.before, self.after = folder, "", ""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            self.before = fingerprint(pl_module)
            self.folder.mkdir(exist_ok=True)
            torch.save(weights(pl_module), self.folder / f"{trainer.global_rank}.pt")

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            self.after = fingerprint(pl_module)


def module_in_training(folder: Path) -> Seen:
    """Audits before epochs 0 and 1 with what has been learned; without validation, which would share the statistics."""
    lightning.seed_everything(4)
    shots = Snapshots(folder / "snapshots")
    settings: dict[str, Any] = {"policy": DROP, "thresholds": LOOSE, "check_leakage": False}
    callback = audit_callback(folder / "again", backbone=None, audit_epochs=(0, 1), **settings)
    data = Module(train_data(100), val_data())
    logger = Memory()
    seen = fitted(callback, data, ShiftedBatchNorm(), more=[shots], max_epochs=3, limit_val_batches=0, logger=logger)
    return Seen(seen, before=shots.before, after=shots.after, logged=logger.reported, calls=data.calls)


def saved_for_later(folder: Path) -> Seen:
    """A fit of one epoch that leaves a checkpoint."""
    model, data = Net(), Module(train_data(), val_data())
    callback = audit_callback(None, policy=DROP)
    run = trainer(callback, **TWO, max_epochs=1)
    seen = seen_in(callback, model, data, lambda: run.fit(model, datamodule=data))
    run.save_checkpoint(folder / "one.ckpt")
    return seen


def resumed(folder: Path) -> Seen:
    callback = audit_callback(None, policy=DROP)
    data = Module(train_data(), val_data())
    return fitted(callback, data, Net(), max_epochs=2, ckpt_path=folder / "one.ckpt")


def checkpoint_as_backbone(folder: Path) -> Seen:
    """The checkpoint has no state of a callback: it audits with the weights loaded."""
    checkpoint = torch.load(folder / "one.ckpt", weights_only=False)
    path = folder / f"bare{os.environ.get('LOCAL_RANK', '0')}.ckpt"
    torch.save({**checkpoint, "callbacks": {}}, path)
    callback = audit_callback(folder / "elsewhere", policy=DROP, backbone=None)
    data = Module(train_data(), val_data())
    return fitted(callback, data, Net(), max_epochs=2, ckpt_path=path)


def none(_: Any) -> None:
    return None


def jitter(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def undisturbed(folder: Path, audited: bool) -> Seen:
    """Training with dropout and augmentation, of which nothing is dropped."""
    lightning.seed_everything(3)
    callback = audit_callback(folder / "warned", policy=WARN, audit_epochs=(0, 1)) if audited else None
    data = Module(train_data(transform=jitter), val_data(leaking=3))
    seen = fitted(callback, data, Net(scheduled=True))
    return Seen(seen, next_random=torch.rand(3).tolist())


def self_supervised(folder: Path) -> Seen:
    given: list[str] = []
    own = resolve_distributed

    def noted(ranks: Any, backbone: Any, *args: Any, **kwargs: Any) -> Any:
        encoder = own(ranks, backbone, *args, **kwargs)
        given.append(weights_fingerprint(encoder.module))  # type: ignore[arg-type]
        return encoder

    callback = audit_callback(None, backbone="self-supervised", check_leakage=False)
    with patch.object(selfclean_hooks.embedding.embed, "resolve_distributed", noted):
        seen = fitted(callback, Module(train_data(), val_data()), max_epochs=1)
    return Seen(seen, given=given)


def margins(folder: Path) -> Seen:
    """A fit that drops samples: what was blended into the second audit, and what each process has logged itself."""
    net, blends = Logged(), Blended()
    with blends.watching():
        callback = callback_of(None, policy=DROP, audit_epochs=(0, 2))
        seen = fitted(callback, Module(train_data(), val_data()), net, max_epochs=3)
    blended = [(values.tolist(), epochs) for values, epochs in blends]
    return Seen(seen, reported=net.reported, blended=blended, label=callback.audit.scores.label.tolist())


def pretrained(folder: Path) -> Seen:
    """The command that trains an encoder, which runs in the process of each device."""
    settings = ["--devices", "2", "--device", "cpu", "--epochs", "2", "--batch-size", "5"]
    with redirect_stdout(StringIO()) as out:
        status = cli.main(["pretrain", str(folder / "images"), "-o", str(folder / "encoder"), *settings])
    return Seen(status=status, out=out.getvalue())


def view_fails(folder: Path) -> Seen:
    own = open_dataset

    def fails_in_one(*arguments: Any) -> Any:
        if torch.distributed.get_rank() == 1:
            raise OSError("the disk of this process is gone")
        return own(*arguments)

    with patch.object(selfclean_hooks.embedding.embed, "open_dataset", fails_in_one):
        return failing(folder)


def loggers_fail(folder: Path) -> Seen:
    """Loggers are the first process's alone."""

    def away(metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("audit/") for name in metrics):
            raise ConnectionError("the server is away")

    callback = audit_callback(None, policy=WARN)
    with patch.object(Memory, "log_metrics", side_effect=away):
        return fitted(callback, Module(train_data(), val_data()), Net(), logger=Memory())


def failing(folder: Path, data: Module | None = None, **settings: Any) -> Seen:
    callback = audit_callback(settings.pop("output_dir", None), **{"policy": WARN, "on_error": "raise", **settings})
    return fitted(callback, data or Module(train_data(), val_data()), Net())


def no_folder(folder: Path) -> Seen:
    (folder / "a file").write_text("in the place of a folder")
    return failing(folder, output_dir=folder / "a file" / "audit")


def sampled(data: Module, **settings: Any) -> Seen:
    return fitted(audit_callback(None, policy=DROP), data, **settings)


FITS: dict[str, Callable[[Path], Seen]] = {
    "drops": drops,
    "passed loaders": passed_loaders,
    "module in training": module_in_training,
    "saved for later": saved_for_later,
    "resumed": resumed,
    "checkpoint as backbone": checkpoint_as_backbone,
    "with the audit": lambda folder: undisturbed(folder, audited=True),
    "without the audit": lambda folder: undisturbed(folder, audited=False),
    "self-supervised": self_supervised,
    "margins": margins,
    "pretrained": pretrained,
    "limits": lambda folder: failing(folder, limits=Limits(near_duplicates=0.001), output_dir=folder / "limits"),
    "raise": lambda folder: failing(folder, policy=Policy("raise")),
    "too much to drop": lambda folder: failing(folder, policy=Policy("drop", max_drop_fraction=0.0)),
    "backbone fails in one": lambda folder: failing(folder, backbone=FailsOn(1, ValueError)),
    "backbone fails in the first": lambda folder: failing(folder, backbone=FailsOn(0, OSError)),
    "view fails in one": view_fails,
    "goes on after one failed": lambda folder: failing(folder, backbone=FailsOn(1, ValueError), on_error=None),
    "goes on without loggers": loggers_fail,
    "no folder": no_folder,
    "unseeded": lambda folder: failing(folder, Unseeded(None, val_data())),
    "own sampler": lambda folder: sampled(WithSampler(train_data(), val_data()), use_distributed_sampler=False),
    "weighted": lambda folder: sampled(WithWeights(train_data(60), val_data())),
    "and again": drops,
    "other validation": lambda folder: failing(folder, OtherValidation(train_data())),
    "test in one": lambda folder: failing(folder, TestInOne(train_data(), val_data())),
}


def main(rank: int, port: int, folder: Path) -> None:
    """What the process of a rank does; its output goes to FOLDER/log."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, file in ((1, "stdout"), (2, "stderr")):
        os.dup2(log, number)
        setattr(sys, file, os.fdopen(number, "w", buffering=1))
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
    torch.set_num_threads(1)  # threads do not outlive a fork
    lightning.seed_everything(rank, verbose=False)  # as processes of their own, which are not alike
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", MASTER_ADDR="localhost", MASTER_PORT=str(port))
    os.sched_getaffinity = lambda process: {0}  # or the first would take the core that the other needs
    seen: dict[str, Any] = {"pid": os.getpid()}

    def write() -> None:
        path = folder / f"{torch.distributed.get_rank()}.json"
        path.with_suffix(".part").write_text(json.dumps(seen))
        path.with_suffix(".part").replace(path)  # in one step, as the other process may end this one

    for name, fit in FITS.items():
        with nullcontext() if name in WITH_PIXELS else patch.object(selfclean_hooks.data.reader, "miniature", none):
            seen[name] = fit(folder)
        write()
        if torch.distributed.get_rank() == 0 and name == "drops":
            shutil.move(folder / "drops", folder / "drops at first")
    lightning.seed_everything(0)
    try:  # last, as Lightning ends the processes
        failing(folder, backbone=FailsOn(1, KeyboardInterrupt))
    finally:
        seen["interrupted"] = type(sys.exc_info()[1]).__name__
        write()
