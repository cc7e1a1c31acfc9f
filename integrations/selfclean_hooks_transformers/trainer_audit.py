"""The audit of a Trainer's data before training, and what of it travels in checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from typing_extensions import Unpack

from selfclean_hooks import Audit, Limits, Policy, Thresholds
from selfclean_hooks.data.views.kept_samples import KeptSamples
from selfclean_hooks.errors import DataError, PolicyError, SettingError
from selfclean_hooks.training import AuditedTraining, FurtherOptions, TrainingOptions, TrainingState, audits_enabled
from selfclean_hooks_transformers.host import TrainerHost

KEY = "DataAudit"  # among the states of callbacks in trainer_state.json
STATE = "trainer_state.json"


def audit_trainer(
    trainer: Any,
    policy: Policy | None = None,
    limits: Limits | None = None,
    backbone: Any = None,
    output_dir: str | Path | None = "audit",
    check_leakage: bool = True,
    thresholds: Thresholds | None = None,
    held_out: Mapping[str, Any] | None = None,
    resume_from_checkpoint: str | Path | bool | None = None,
    **options: Unpack[FurtherOptions],
) -> Audit | None:
    """Audit the data of a transformers Trainer before `train()`; what the policy drops is not trained on.

        trainer = Trainer(model, args, train_dataset=train, eval_dataset=val)
        audit_trainer(trainer, policy=Policy(near_duplicates="drop", label_errors="drop"))
        trainer.train()

    `trainer.train_dataset` is replaced by the kept part of it, of the same kind where that is Hugging Face's; nothing
    dropped, nothing changed: the weights after training are those without the audit, bit for bit. The dropped
    positions and a fingerprint of the data are in trainer_state.json of each checkpoint. To be called by all processes
    of a distributed training, which share the work and drop the same. SELFCLEAN_HOOKS_ENABLED=0 in the environment
    turns it off.

    Args:
        trainer: with a map-style `train_dataset`; `eval_dataset`, one or a dict of several, is searched for near
            duplicates of it.
        policy: what a flag does, per issue. None: `Policy()`, which warns.
        limits: beyond these a `ContaminationError` is raised. None: no limits.
        backbone: None: the model of the trainer, with the image processor or tokenizer of the trainer, where it is
            pretrained, else "auto"; the name of a part of it; or what `selfclean_hooks.audit` takes.
        output_dir: folder for the audit and its report. None: nothing is written.
        check_leakage: whether near duplicates of training data are looked for in `eval_dataset` and `held_out`.
        thresholds: where a score becomes a flag. None: `Thresholds()`.
        held_out: further data sets to compare with, by name.
        resume_from_checkpoint: as for `train`: what was dropped then is dropped again, without another audit, unless
            data or settings changed. None: what the TrainingArguments say.
        **options: further arguments of `DataAudit` of selfclean_hooks_lightning, all but `audit_epochs`.

    Returns:
        The Audit; its indices are positions in the data set given. None where none was made: it is turned off, failed
        with `on_error="warn"`, or the run is resumed.

    Raises:
        SettingError: an argument makes no sense, the trainer has no training data, or samples cannot be dropped.
        ContaminationError: beyond a limit, or flagged where the policy says "raise".
        Exception: the audit failed, and `on_error` stops the training.
    """
    settings = TrainingOptions(
        policy=policy,
        limits=limits,
        backbone=backbone,
        output_dir=output_dir,
        check_leakage=check_leakage,
        thresholds=thresholds,
        held_out=held_out,
        **options,
    ).checked()
    if trainer.train_dataset is None:
        raise SettingError("the trainer must have data to audit, got train_dataset=None: pass it to the Trainer")
    if not audits_enabled():
        return None
    host, state, audits = TrainerHost(trainer), TrainingState(), dict[str, Audit]()
    if saved := _saved_state(trainer.args, resume_from_checkpoint):
        state.load_state_dict(saved, settings.raises)
    training = AuditedTraining(settings, state, audits, host, trainer.model)
    kept = training.filter(host.loader(trainer.train_dataset)).dataset
    trainer.train_dataset = kept.native() if isinstance(kept, KeptSamples) else kept
    trainer.remove_callback(AuditRecord)
    trainer.add_callback(AuditRecord(training, len(kept) if isinstance(kept, KeptSamples) else None))
    return audits.get("")


class AuditRecord(TrainerCallback):
    """Keeps the outcome of the audit in checkpoints, logs it, and sees to it that the kept samples are trained on.

    Args:
        training: whose data was audited.
        kept: how many samples are left; None: nothing is dropped.
    """

    def __init__(self, training: AuditedTraining, kept: int | None) -> None:
        """Nothing is logged yet."""
        self.training, self.kept = training, kept

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Check the loader and the checkpoint that is resumed, and hand the outcome to the trainer's state.

        Raises:
            PolicyError: the trainer does not train on what was kept.
        """
        data = getattr(given.get("train_dataloader"), "dataset", None)
        if data is not None and self.kept is not None and len(data) != self.kept:
            raise PolicyError(
                f"the {self.kept} kept samples must be trained on, and the trainer's loader has {len(data)}: let "
                "get_train_dataloader use self.train_dataset, and audit after it was last set"
            )
        mine, then = self.training.state.state_dict(), state.stateful_callbacks.get(KEY)
        if state.global_step > 0 and then is not None and then["attributes"] != mine:
            self.training.auditor.warn(
                "audit_trainer: the run that is resumed was trained on other samples: pass resume_from_checkpoint= to "
                "audit_trainer as well to drop what was dropped then"
            )
        state.stateful_callbacks[KEY] = {"args": {}, "attributes": mine}
        self.training.starts()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Nothing is recorded any more."""
        self.training.close()


_last_checkpoint: Any = get_last_checkpoint  # has no types


def _saved_state(args: Any, resume_from_checkpoint: str | Path | bool | None) -> dict[str, Any]:
    """What an audit left in the checkpoint that is resumed; {} where there is none.

    Raises:
        DataError: the checkpoint cannot be read.
    """
    place = args.resume_from_checkpoint if resume_from_checkpoint is None else resume_from_checkpoint
    place = _last_checkpoint(args.output_dir) if place is True or place == "True" else place
    if not place:
        return {}
    path = Path(place) / STATE
    try:
        content = json.loads(path.read_text("utf-8"))
        found: dict[str, Any] = (content["stateful_callbacks"].get(KEY) or {}).get("attributes", {})
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path} must be the state of a run to resume, got {type(error).__name__}: {error}") from error
    return found
