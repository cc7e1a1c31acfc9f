"""Runs one command of the command line over and over, each time killed before another step on disk.

    python killed_processes.py WORK ARGUMENT...

WORK/before is what there is before each run; the command runs in a copy of it, and must write nothing outside. The
first run is killed before its first step on disk (a file opened to be written, put in place or removed, a folder made),
the second before its second, and so on; the last run comes to its end. A file that would be cut short by being opened
is, before the kill. Prints one JSON object a run: its status, the files it left and their digests, and what can be read.
"""

import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from command_line import contents

from selfclean_hooks import cli, errors, named_sources
from selfclean_hooks.baseline import Baseline
from selfclean_hooks.deciding import opened
from selfclean_hooks.named_sources import audit_sources

KILLED = 77
STEPS = {"open": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0, "os.link": 1}


def kill_before(step: int, folder: str) -> None:
    """End this process, as SIGKILL would, before it changes anything below the folder for the time of that number."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in STEPS or not isinstance(arguments[STEPS[event]], (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(arguments[STEPS[event]]))
        flags = arguments[2] if event == "open" else os.O_WRONLY
        if not path.startswith(folder) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        seen += 1
        if seen == step:
            if event == "open" and flags & os.O_TRUNC:
                os.open(path, flags)
            os._exit(KILLED)

    sys.addaudithook(watch)


def run(step: int, trial: Path, arguments: list[str]) -> int:
    """The status of one run in a process of its own."""
    child = os.fork()
    if not child:
        os.chdir(trial)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        kill_before(step, str(trial) + os.sep)
        os._exit(cli.main(arguments))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def readable(trial: Path) -> dict[str, str]:
    """What can be read there, "" or why not."""
    told = {}
    for name, read in (("audit", opened), ("baseline.jsonl", Baseline.read)):
        try:
            read(trial / name)
            told[name] = ""
        except errors.AuditFileError as error:
            told[name] = str(error)
    return told


def copied(work: Path) -> Path:
    trial = work / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(work / "before", trial)
    return trial


def audit_only_once() -> None:
    """Every run is to find the very same, at the same moment: so only what follows on the audit is run again."""
    found: list[Any] = []

    def once(*settings: Any) -> Any:
        found.append(found[0] if found else audit_sources(*settings))
        return found[0]

    named_sources.audit_sources = once


def main(work: Path, arguments: list[str]) -> None:
    audit_only_once()
    os.chdir(copied(work))
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        cli.main(arguments)  # imports what it needs, and audits
    status, step = KILLED, 0
    while status == KILLED:
        step += 1
        trial = copied(work)
        status = run(step, trial, arguments)
        print(json.dumps({"status": status, "files": contents(trial), "told": readable(trial)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
