"""What an error of an audit does to the training: it stops it, or becomes a warning and the training goes on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from selfclean_hooks.errors import (
    AuditFileError,
    BackboneError,
    ContaminationError,
    DataError,
    DataWarning,
    PolicyError,
    SelfCleanError,
    SettingError,
)
from selfclean_hooks.training.host import Host
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.roll_call import UnansweredError

T = TypeVar("T")
# By limits and policy, a wrong setting, the user's filter of warnings, a lost process. Interrupts are no Exception.
INTENDED = (ContaminationError, SettingError, DataWarning, UnansweredError)
REFUSALS = (DataError, BackboneError, PolicyError, AuditFileError)  # why there is no later audit, the last one standing
NOT_AUDITED, NOT_LOGGED = "the training data is not audited", "the audit is not logged"
NO_MARGINS = "label scores of later audits are those of the features alone"


class Tolerance:
    """Runs what audits do in a training, by `on_error`.

    Args:
        raises: Whether errors stop the training.
        timeout: Seconds to wait for a sample or a process; None: for ever.
        processes: The processes of the training.
        host: The trainer.
    """

    def __init__(self, raises: bool, timeout: float | None, processes: Processes, host: Host) -> None:
        """See the class."""
        self.raises, self.timeout, self.processes, self.host = raises, timeout, processes, host

    def together(self, lost: str, work: Callable[[], T], instead: T) -> T:
        """What the work of all processes results in; a collective operation.

        Args:
            lost: What there is not if the work fails, for the warning.
            work: May hold collective operations. An error of one process is one of all.
            instead: The result if it fails and training goes on, the same in all processes.
        """
        try:
            with preserve_rng_state(), patience(self.timeout) as held:
                held.beat = self.processes.beat
                return self.processes.together(work)
        except INTENDED:
            raise
        except Exception as error:  # whatever else: an audit that fails must not cost a training that needs none
            if self.raises:
                raise
            failure = error
        self.processes.run_on_first(lambda: self._report(lost, failure))
        return instead

    def alone(self, lost: str, work: Callable[[], object]) -> str:
        """Do what this process does by itself; why it failed, if training goes on without, or ""."""
        try:
            work()
        except Exception as error:  # as above
            if self.raises:
                raise
            self._log(lost, error)
            return described(error)
        return ""

    def _report(self, lost: str, error: Exception) -> None:
        self._log(lost, error)
        warnings.warn(f"DataAudit: {lost}: {described(error)}", DataWarning, stacklevel=2)

    def _log(self, lost: str, error: Exception) -> None:
        text = "DataAudit: %s, and the training goes on (on_error='raise' stops it). The error in full:"
        self.host.logger().warning(text, lost, exc_info=error)


def described(error: Exception) -> str:
    """An error in one line; of errors that are not the package's own, with their kind."""
    return str(error) if isinstance(error, SelfCleanError) else f"{type(error).__name__}: {error}".rstrip(": ")
