"""A run of pytest as `assert_clean` sees it: where things are kept, which test runs, which lines end the run."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

RUNNING: list[Run] = []  # the innermost last: pytest may run within pytest
REPORTS = "selfclean-reports"  # in the cache folder
LONGEST = 80  # characters of a folder's name


class Run:
    """What `assert_clean` needs of pytest.

    Attributes:
        reuse: whether audits are kept between runs, where there is a folder.
        lines: one for every data set that was audited.
    """

    def __init__(self, config: pytest.Config, folder: Path | None, reuse: bool) -> None:
        """`folder`: what the user chose, None for the cache folder of pytest."""
        self.reuse, self.lines = reuse, list[str]()
        self._config, self._chosen, self._reports = config, folder, Counter[str]()

    @cached_property
    def folder(self) -> Path | None:
        """Where audits and reports are kept; made when it is first asked for. None: pytest keeps no cache."""
        if self._chosen is not None:
            return self._chosen
        cache: pytest.Cache | None = getattr(self._config, "cache", None)  # none with -p no:cacheprovider
        try:
            return None if cache is None else cache.mkdir("selfclean_hooks")
        except OSError as error:  # as pytest itself does: a test must not fail for it
            warnings.warn(f"no audit is kept: pytest's cache folder cannot be written ({error})", stacklevel=2)
            return None

    def report(self) -> Path | None:
        """A folder for the report of the test that runs, another one each time it is asked for."""
        if self.folder is None:
            return None
        name = re.sub(r"[^\w.-]+", "-", test(), flags=re.ASCII)[-LONGEST:].strip("-.")
        name += "-" + blake2b(test().encode(), digest_size=4).hexdigest()  # two tests may be shortened to one name
        self._reports[name] += 1
        nth = self._reports[name]
        return self.folder / REPORTS / (name if nth == 1 else f"{name}-{nth}")

    def shown(self, path: Path) -> str:
        """A path as the user would type it: relative to where pytest was started, if it lies there."""
        start = self._config.invocation_params.dir
        return str(path.relative_to(start) if path.is_relative_to(start) else path)


def running() -> Run | None:
    """The run of pytest that this is a part of, None where the plugin is not loaded."""
    return RUNNING[-1] if RUNNING else None


def test() -> str:
    """The test that runs, as pytest names it; "" outside of pytest."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
