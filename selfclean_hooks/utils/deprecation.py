"""What is to go works on, with a warning that names what takes its place and when it goes."""

import warnings


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
