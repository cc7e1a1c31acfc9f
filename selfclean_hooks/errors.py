"""Every exception and warning of the package.

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

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


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


@contextmanager
def needs(package: str, what: str) -> Iterator[None]:
    """A block of imports from a package for `what`.

    Raises:
        BackboneError: the package is not installed, or fails as it is imported; says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise  # a package that this one needs: its own message is the better one
        raise BackboneError(f"{what} needs {package}: pip install {package}") from error
    except Exception as error:  # of any kind, as where torchvision is of another build than torch
        raise BackboneError(
            f"{what} needs {package}, whose import fails ({type(error).__name__}: {error}): install versions that fit "
            "together from one place, as with `uv pip install --torch-backend auto torch torchvision`"
        ) from error


def warn_deprecated(old: str, instead: str, goes_in: str, stacklevel: int = 2) -> None:
    """Warn the caller of a function that it will go; the tests fail once it is overdue.

    Args:
        old: what is to go, as users write it.
        instead: what to write in its place.
        goes_in: the version without it, as "0.4.0": two minor releases ahead or more. Written out, not computed.
        stacklevel: 2 for the caller of the function that calls this one.
    """
    message = f"{old} goes in selfclean_hooks {goes_in}: use {instead} instead"
    warnings.warn(message, FutureWarning, stacklevel=stacklevel + 1)  # shown by default, unlike DeprecationWarning
