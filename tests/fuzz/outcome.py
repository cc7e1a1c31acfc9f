"""What has to hold whatever is read: a result or one sentence, little memory, nothing written elsewhere, no escapes."""

import contextlib
import hashlib
import io
import os
import re
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfclean_hooks.cli import main as cli
from selfclean_hooks.errors import DataWarning, SelfCleanError

MEGABYTES = 400  # of memory at most, above what the process had before
OUTPUT = "out"  # the one place where a command may write
JOINER = "\u200d"


@dataclass(frozen=True)
class Outcome:
    """What a run has done.

    Attributes:
        status: 0, 1 or 2.
        out: standard output.
        err: standard error, or the message of the error.
        peak: megabytes above what the process had before.
        places: files opened for writing, and programs that were started.
        mistake: an exception that is none of ours, or "".
    """

    status: int
    out: str
    err: str
    peak: int
    places: tuple[str, ...]
    mistake: str = ""


def run_command(argv: list[str], output: str = OUTPUT) -> Outcome:
    """The command line in this process, in the current folder; it may write where names begin with `output`."""
    return _watched(lambda: cli.main(argv), output)


def run_call(call: Callable[[], Any]) -> Outcome:
    """A call of the library: status 0 for a result, 2 for an error of ours."""

    def status() -> int:
        try:
            call()
        except SelfCleanError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0

    return _watched(status, OUTPUT, is_command=False)


def faults(outcome: Outcome, is_command: bool = True) -> Iterator[str]:
    """What does not hold."""
    if outcome.mistake or "Traceback" in outcome.err + outcome.out:
        lines = [line for line in outcome.err.splitlines() if line.strip()]
        yield f"a traceback: {outcome.mistake or lines[-1]}"
    if outcome.status not in (0, 1, 2):
        yield f"status {outcome.status}"
    sentences = len(re.findall(r"^error: |^Error: |Usage: ", outcome.err, re.MULTILINE))
    if is_command and outcome.status == 2 and sentences < 1:
        yield f"status 2 without a sentence: {outcome.err[-300:]!r}"
    for name, text in (("standard output", outcome.out), ("standard error", outcome.err)):
        bad = {c for c in text if not c.isprintable() and c not in "\n" + JOINER}
        if is_command and bad:
            yield f"control characters {sorted(bad)!r} on {name}: {_around(text, min(bad))!r}"
    if outcome.peak > MEGABYTES:
        yield f"{outcome.peak} MB of memory"
    if outcome.places:
        yield f"written or started elsewhere: {', '.join(outcome.places[:5])}"


def _around(text: str, sign: str) -> str:
    at = text.index(sign)
    return text[max(0, at - 60) : at + 30]


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files, but for what is in `OUTPUT`."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if Path(place) != folder or not each.startswith((OUTPUT, "__pycache__"))]
        for name in names:
            path = Path(place, name)
            found[path.relative_to(folder).as_posix()] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
            )
    return found


def _watched(run: Callable[[], int], output: str, is_command: bool = True) -> Outcome:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    mistake, status = "", 2
    WRITES.clear()
    before = _start_of_peak()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", DataWarning)
        WATCHING.append(os.path.join(os.path.realpath(os.getcwd()), output))
        try:
            status = run()
        except (Exception, SystemExit) as error:
            mistake = f"{type(error).__name__}: {error}"
        finally:
            WATCHING.clear()
    peak = (_peak() - before) >> 10
    said = "".join(
        f"warning: {each.message}\n" for each in caught if isinstance(each.message, DataWarning) and is_command
    )
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "backslashreplace"))
    return Outcome(status, texts[0], texts[1] + said, peak, tuple(dict.fromkeys(WRITES)), mistake)


# --- memory --------------------------------------------------------------------------------------------------------


def _start_of_peak() -> int:
    """Kilobytes in use; the kernel's record of the peak begins anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # no Linux: the peak of the whole process, which never goes down
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(next(line for line in lines if line.startswith(name)).split()[1])


# --- files that are written, and programs that are started ---------------------------------------------------------

WATCHING: list[str] = []  # how the paths begin that the run in progress may write
WRITES: list[str] = []
EVENTS = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
STARTS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
IMPORTED = re.compile(r"\.pyc|__pycache__|torchinductor|^/dev/null$")  # what the first import of a package leaves
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not WATCHING:
        return
    if event in STARTS:
        WRITES.append(f"{event} {arguments!r:.80}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path, mode, flags = os.fsdecode(arguments[0]), arguments[1], arguments[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITING):
            _note(path)
    elif event in EVENTS:
        for each in arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]:
            if isinstance(each, (str, bytes, os.PathLike)):
                _note(os.fsdecode(each))


def _note(path: str) -> None:
    whole = os.path.realpath(path)
    if not whole.startswith(WATCHING[0]) and not IMPORTED.search(whole):
        WRITES.append(whole)


sys.addaudithook(_watch)
