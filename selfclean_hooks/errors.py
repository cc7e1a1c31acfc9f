"""Every exception of the package.

    SelfCleanError
    |-- DataError (ValueError)         the data set, the vectors or the labels cannot be audited
    |-- BackboneError (ValueError)     no features can be had from this backbone
    |-- SourceError (ValueError)       SOURCE on the command line names nothing that can be read
    |-- SettingError (ValueError)      a threshold, policy, limit or other argument makes no sense
    |-- PolicyError                    a policy asks for something that would do harm, such as dropping most of the data
    |-- ContaminationError             a policy says "raise" and there is something to raise about
    `-- AuditFileError                 a saved audit cannot be written or read

Each message says what was wanted, what came and what to do.
"""

from __future__ import annotations


class SelfCleanError(Exception):
    """Base class: catch this to catch everything the package raises on purpose."""


class DataError(SelfCleanError, ValueError):
    """The data set, the vectors or the labels cannot be audited."""


class BackboneError(SelfCleanError, ValueError):
    """No features can be had from this backbone."""


class SourceError(SelfCleanError, ValueError):
    """A SOURCE names nothing that can be read."""


class SettingError(SelfCleanError, ValueError):
    """A threshold, policy, limit or other argument makes no sense."""


class PolicyError(SelfCleanError):
    """A policy asks for something that would do harm."""


class ContaminationError(SelfCleanError):
    """A policy says "raise" and samples were flagged."""


class AuditFileError(SelfCleanError):
    """A saved audit cannot be written or read."""


class DataWarning(UserWarning):
    """Something about the data that the user should know and that does not stop the audit."""
