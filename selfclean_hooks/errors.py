"""Every exception of the package.

    SelfCleanError
    |-- DataError (ValueError)         the data set, the vectors or the labels cannot be audited
    |-- BackboneError (ValueError)     the backbone provides no usable features
    |-- SourceError (ValueError)       SOURCE on the command line cannot be read
    |-- SettingError (ValueError)      a threshold, policy, limit or other argument is not valid
    |   `-- UnknownBackboneError       no backbone has this name; a BackboneError too
    |-- PolicyError                    a policy would do harm, such as dropping most of the data
    |-- ContaminationError             a policy says "raise" and samples were flagged
    `-- AuditFileError                 a saved audit cannot be written or read

Each message says what was wanted, what came and what to do.
"""

from __future__ import annotations


class SelfCleanError(Exception):
    """Base class: catch this to catch everything the package raises on purpose."""


class DataError(SelfCleanError, ValueError):
    """The data set, the vectors or the labels cannot be audited."""


class BackboneError(SelfCleanError, ValueError):
    """The backbone provides no usable features."""


class SourceError(SelfCleanError, ValueError):
    """A SOURCE cannot be read."""


class SettingError(SelfCleanError, ValueError):
    """A threshold, policy, limit or other argument is not valid."""


class UnknownBackboneError(BackboneError, SettingError):
    """No backbone has this name."""


class PolicyError(SelfCleanError):
    """A policy would do harm."""


class ContaminationError(SelfCleanError):
    """A policy says "raise" and samples were flagged."""


class AuditFileError(SelfCleanError):
    """A saved audit cannot be written or read."""


class DataWarning(UserWarning):
    """Something about the data that users should know and that does not stop the audit."""
