"""`DataAudit` without its base class: the same hooks serve both names that Lightning goes by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.core.settings import Precision
from selfclean_hooks.decisions.settings import Action, Policy, Thresholds
from selfclean_hooks.gate.verdict import Limits
from selfclean_hooks.training.settings import TrainingOptions, audits_enabled
from selfclean_hooks.training.state import TrainingState
from selfclean_hooks.training.tolerance import NO_MARGINS, NOT_AUDITED, NOT_LOGGED, Tolerance
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks_lightning.configuration import Backbone, GroupKey, HeldOut, backbone_of, held_out_of
from selfclean_hooks_lightning.fit import Fit, LightningHost


class DataAuditHooks:
    """Audits the training data before the first step, and drops samples, warns or stops as the policy says.

        Trainer(callbacks=[DataAudit(policy=Policy(near_duplicates="drop", label_errors="warn"))])

    The data may come from a LightningDataModule, from hooks of the LightningModule or from loaders passed to `fit`; of
    a dict, list or CombinedLoader each loader is audited by itself. Positions are those in the data set of the loader,
    or among the samples that its sampler draws if it draws only some. Random augmentation is bypassed on copies. If
    nothing is dropped, training is what it is without the callback, bit for bit. `trainer.validate`, `test` and
    `predict` are left alone, and SELFCLEAN_HOOKS_ENABLED=0 in the environment turns the audit off.

    The list of dropped samples travels in checkpoints: a run that is resumed, or a second `fit`, drops the same without
    another audit, unless the data, method, thresholds, policy, limits, `check_leakage` or kind of backbone changed. In
    distributed training each process reads its share; the first one scores, warns and writes.

    Args:
        policy: What a flag does, per issue. None: `Policy()`, which warns.
        limits: Beyond these the run is stopped with a `ContaminationError`, before the first step of the epoch audited
            for. None: no limits.
        backbone: None: the module in training once it has learned something (a checkpoint was loaded, the audit is for
            a later epoch, or it was pretrained), "auto" before; the name of a part of it, as "model.encoder", by the
            same rule; or what `selfclean_hooks.audit` takes: "auto", "self-supervised", a timm name, a module of your
            own, a function from a batch to (B, D).
        audit_epochs: Before which epochs to audit, counted from 0. What a later audit finds is dropped from that epoch
            on, in place of what an earlier one found. It runs at the end of the epoch before, so that checkpoints of
            that moment hold its outcome (and in vain if EarlyStopping ends the training then). Until the last of them
            the margins of the samples in training are noted from the logits of each step, at no extra forward pass,
            and the label scores of later audits draw on them too (see `selfclean_hooks.dynamics`).
        output_dir: Folder for the audit and its report, made if need be; one below it per loader where there are
            several, and one per epoch where there are several. None: nothing is written.
        check_leakage: Whether near duplicates between the training data and validation or test data are looked for.
        leakage: Short for `Policy(leakage=...)`: "drop" leaves them out of the training data, never of the others.
        thresholds: Where a score becomes a flag. None: `Thresholds()`.
        method: "default", or "selfclean" for the scores of the paper.
        held_out: Further data sets to compare with, by name, such as a test split that `setup("fit")` does not make.
        batch_size: Samples per forward pass of the audit.
        num_workers: Processes that read for the audit. None: as many as the loader has.
        seed: Of whatever is random (self-supervised training). Global random state is left as it was.
        cache_dir: Where embeddings are kept between runs, or None.
        precision: Of the audit's forward pass: "32" as the model has it, "bf16" or "16" for torch's autocast.
        compile: Compile the model for the audit with torch.compile; the module in training stays as it is.
        on_error: What an error of the audit itself does, be it of the backbone, the cache, the output folder or the
            memory: "warn", and training goes on as it would without that audit (the error in full goes to the log), or
            "raise". None: "raise" where the policy drops or raises or there are limits, else "warn"; but a later audit
            that is refused leaves what an earlier one dropped. Wrong arguments and interrupts always raise.
        timeout: Seconds to wait for a sample, or for another process that does not answer, after which there is an
            error that names it. None: for ever, with a line after a minute.
        input_key: Name or position of the field of an item that is audited, as "photo" or 1. None: by convention.
        label_key: The same of its label, as "fine_label".
        ignore_label: The label that means that a sample has none, as 255.
        group_key: Name of a column or attribute, or a function of the file of a sample, that says which samples belong
            together: they are no duplicates of each other, and no leakage.
        image_quality: Look for images that are dark, bright, blurry, blank, or of an odd size or shape, too.
        search: Of neighbours that vote on labels: "exact", or "approximate" by faiss, for 100,000 samples and more.

    Attributes:
        audits: The latest `Audit` by name of the loader, "" for a single one. Under strategies that start processes of
            their own (ddp_spawn) it stays empty in the process that started them: load what was saved.

    Raises:
        SettingError: An argument makes no sense.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        limits: Limits | None = None,
        backbone: Backbone = None,
        audit_epochs: tuple[int, ...] | list[int] = (0,),
        output_dir: str | Path | None = "audit",
        check_leakage: bool = True,
        leakage: Action | None = None,
        thresholds: Thresholds | None = None,
        method: Literal["default", "selfclean"] = "default",
        held_out: HeldOut = None,
        batch_size: int = 64,
        num_workers: int | None = None,
        seed: int = 0,
        cache_dir: str | Path | None = None,
        precision: Precision = "32",
        compile: bool = False,
        on_error: Literal["warn", "raise"] | None = None,
        timeout: float | None = None,
        input_key: str | int | None = None,
        label_key: str | int | None = None,
        ignore_label: int | str | None = None,
        group_key: GroupKey = None,
        image_quality: bool = False,
        search: str = "exact",
    ) -> None:
        """See the class."""
        super().__init__()
        options = TrainingOptions(
            policy=policy,
            thresholds=thresholds,
            limits=limits,
            method=method,
            backbone=backbone_of(backbone),
            audit_epochs=audit_epochs,
            output_dir=output_dir,
            check_leakage=check_leakage,
            leakage=leakage,
            held_out=held_out_of(held_out),
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            cache_dir=cache_dir,
            precision=precision,
            compile=compile,
            on_error=on_error,
            timeout=timeout,
            input_key=input_key,
            label_key=label_key,
            ignore_label=ignore_label,
            group_key=group_key,
            image_quality=image_quality,
            search=search,
        )
        self.settings = options.checked()
        self.audits: dict[str, Audit] = {}
        self._state = TrainingState()
        self._fit: Fit | None = None

    @property
    def audit(self) -> Audit:
        """The latest audit, where there is one loader.

        Raises:
            AttributeError: There was no audit yet, or there are several.
        """
        if len(self.audits) != 1:
            why = "" if self.audits else ": fit first; where an audit was left out, a warning says why"
            raise AttributeError(f"there are {len(self.audits)} audits, by loader in .audits{why}")
        return next(iter(self.audits.values()))

    @property
    def state_key(self) -> str:
        """Where the state lies in a checkpoint: one place for each `output_dir`."""
        return f"DataAudit{{'output_dir': {str(self.settings.output_dir)!r}}}"

    def state_dict(self) -> dict[str, Any]:
        """The dropped positions, the fingerprint of the data and the margins recorded for later audits, by loader."""
        return self._state.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of the run that is resumed; not that from before the audit, which tuners restore."""
        if self._fit is None or not self._fit.training.current:
            self._state.load_state_dict(state_dict, self.settings.raises)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Find the state of a run with another `output_dir`, if there is no doubt whose it is."""
        states = {key: state for key, state in checkpoint.get("callbacks", {}).items() if key.startswith("DataAudit{")}
        alone = sum(isinstance(callback, DataAuditHooks) for callback in trainer.callbacks) == 1
        if alone and len(states) == 1 and self.state_key not in states:
            self.load_state_dict(next(iter(states.values())))

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Override the hook that returns the training data; the audit runs when it is asked for."""
        if stage == "fit" and audits_enabled():
            self._end()
            self._state.starts()
            host, timeout = LightningHost(trainer, pl_module, None), self.settings.embedding.timeout
            tolerance = Tolerance(self.settings.raises, timeout, Processes.here(), host)
            make = partial(Fit, self.settings, self._state, self.audits, trainer, pl_module)
            self._fit = tolerance.together(NOT_AUDITED, make, None)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Log the audit before the first epoch now: earlier a tuner may have put the loggers aside."""
        self._tolerant(NOT_LOGGED, lambda fit: fit.training.starts())

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The loaders are there: restore the trainer's reload setting, and record margins if a later audit is due."""
        self._tolerant(NO_MARGINS, lambda fit: fit.epoch_starts())

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Listen to the logits of this step, if its margins are to be recorded."""
        if self._fit is not None:
            self._fit.training.batch_starts(batch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the margins of this step."""
        if self._fit is not None:
            self._fit.training.batch_ends()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Audit for the next epoch, if it is one to audit for."""
        self._tolerant("no audit for the next epoch", lambda fit: fit.epoch_ends())

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Restore everything: after an error `teardown` is not called."""
        self._end()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Restore everything."""
        self._end()

    def _tolerant(self, lost: str, work: Callable[[Fit], None]) -> None:
        """Part of an audit, whose errors are treated as `on_error` says."""
        if (fit := self._fit) is not None:
            fit.training.tolerance.together(lost, lambda: work(fit), None)

    def _end(self) -> None:
        if self._fit is not None:
            fit, self._fit = self._fit, None
            fit.training.tolerance.alone("not all is left as it was", fit.undo)
