"""What pytest calls. It is loaded by every run: nothing heavy is imported here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks_pytest.session import REPORTS, RUNNING, Run

RUN = pytest.StashKey[Run]()
OWN = ("selfclean-audits", REPORTS, "embeddings.sqlite", "embeddings.sqlite-journal")  # in a cache folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tell pytest the options."""
    group = parser.getgroup("selfclean_hooks", "audits of data (assert_clean)")
    group.addoption(
        "--selfclean-cache",
        metavar="DIR",
        help="Keep audits and the reports of failures here between runs. Default: the ini option selfclean_cache, else "
        "pytest's cache folder.",
    )
    group.addoption("--selfclean-no-cache", action="store_true", help="Audit anew, and keep no audit.")
    parser.addini("selfclean_cache", "Folder where audits are kept between runs, relative to the root of the project.")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run.

    Raises:
        UsageError: the folder asked for cannot be made.
    """
    folder = _folder(config)
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist
    if folder is not None:
        config.option.selfclean_cache = str(folder)  # for workers, which may be started elsewhere
        if config.getoption("cacheclear", False) and not is_worker:
            _clear(folder)
    run = Run(config, folder, reuse=not config.getoption("selfclean_no_cache"))
    config.stash[RUN] = run
    RUNNING.append(run)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run."""
    run = config.stash.get(RUN, None)
    if run in RUNNING:
        RUNNING.remove(run)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its lines over."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["selfclean_hooks"] = session.config.stash[RUN].lines


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the lines of a worker; one that crashed has none."""
    node.config.stash[RUN].lines += getattr(node, "workeroutput", {}).get("selfclean_hooks", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for every audit."""
    lines = config.stash[RUN].lines
    if lines:
        terminalreporter.section("audits of data")
        for line in lines:
            terminalreporter.line(line)


def _folder(config: pytest.Config) -> Path | None:
    """The folder that the user chose, made if need be; None: the one of pytest."""
    option, ini = config.getoption("selfclean_cache"), config.getini("selfclean_cache")
    if not option and not ini:
        return None
    base = config.invocation_params.dir if option else config.rootpath
    folder = base / Path(option or ini).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(
            f"the folder for audits {folder} cannot be made ({error.strerror}): give another one with --selfclean-cache"
        ) from error
    return folder


def _clear(folder: Path) -> None:
    """Remove what is ours and nothing else: the folder may be one that the user keeps other things in."""
    for name in OWN:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
