"""What one piece of work costs a process. Standard library only: it runs inside SelfClean's own environment too."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}


def measure(work: Callable[[], object]) -> dict[str, float]:
    """Run `work` once: CPU and wall seconds of it alone, peak resident memory (MiB) of the process so far."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    work()
    return {"cpu_s": _cpu_seconds() - cpu, "wall_s": time.perf_counter() - wall, "peak_rss_mib": peak_rss_mib()}


def peak_rss_mib() -> float:
    """The largest resident set of this process or of one child so far; Linux counts in KiB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def _cpu_seconds() -> float:
    """User and system time, finished children included."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
