"""What `audit_embeddings` costs on one thread, by default and with method="selfclean", beside SelfClean itself, other
tools, and the bare matrix product.

    python benchmarks/engine.py --quick
    python benchmarks/engine.py --data DIR --selfclean PYTHON --output benchmarks/results/engine.csv
    python benchmarks/engine.py --sizes 5500 11000 22000 --peers PYTHON --output benchmarks/results/engine_peers.csv

This process stays small on purpose: Linux counts the peak memory of a parent as its child's own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _meter import ONE_THREAD

HERE = Path(__file__).parent
WORKER = (sys.executable, str(HERE / "_engine_work.py"))
PEERS = ("datalab", "sklearn", "faiss", "hnswlib")
LARGEST_SELFCLEAN = 22_000  # it keeps N x N arrays on disk: 10 GB here, 87 GB at N = 66,000
COLUMNS = ["n", "tool", "cpu_s", "wall_s", "peak_rss_mib", "disk_mib", "data", "version", "machine"]
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    rows: list[Row] = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            found = benchmark(size, options, Path(folder))
        rows += found
        report(found)
    if options.output:
        write(options.output, rows)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU time and memory of the exact engine, on one thread.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[11_000, 22_000, 66_000], help="numbers of samples")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="folder of 10k.npz (labels), 10k.emb.npz (emb), ...")
    source.add_argument("--synthetic", action="store_true", help="made-up embeddings; the default without --data")
    source.add_argument("--clusters", action="store_true", help="made-up ones with as much noise in all directions")
    parser.add_argument("--selfclean", metavar="PYTHON", help="python of an environment that has selfclean 0.0.39")
    parser.add_argument("--selfclean-chunk", type=int, default=10_000, help="its chunk_size (default: its own, 10000)")
    parser.add_argument(
        "--peers", metavar="PYTHON", help="python of an environment with cleanlab[datalab], faiss, hnswlib"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the one of least CPU time is kept")
    parser.add_argument("--quick", action="store_true", help="N = 1,100 only: does it run?")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    options = parser.parse_args(argv)
    if options.quick:
        options.sizes = [1_100]
    return options


def benchmark(size: int, options: argparse.Namespace, folder: Path) -> list[Row]:
    """One row a tool; every run is a fresh process, and the tools take turns so that a busy moment hits them alike."""
    files = data_files(size, options, folder)
    commands = {task: [*WORKER, task] for task in ("gemm", "default", "audit")}
    if options.selfclean and size <= LARGEST_SELFCLEAN:
        commands["selfclean"] = [options.selfclean, str(HERE / "_selfclean_exact.py"), str(options.selfclean_chunk)]
    if options.peers:
        commands["neighbors"] = [*WORKER, "neighbors"]
        commands |= {tool: [options.peers, str(HERE / "_engine_peers.py"), tool] for tool in PEERS}
    runs: dict[str, list[Row]] = {tool: [] for tool in commands}
    for _ in range(options.repeat):
        for tool, command in commands.items():
            runs[tool].append(json.loads(run(*command, *files)))
    if "selfclean" in commands:
        print(f"N = {size:,}: scores differ from SelfClean's by at most {run(*WORKER, 'compare', *files)}")
    name = Path(files[0]).name if options.data else "clusters" if options.clusters else "synthetic"
    common = {"data": name, "machine": machine()}
    return [min(runs[tool], key=lambda row: float(row["cpu_s"])) | common | {"tool": tool} for tool in commands]


def data_files(size: int, options: argparse.Namespace, folder: Path) -> tuple[str, str, str]:
    """Vectors, labels, scratch folder; the benchmark sets are named after their clean samples, 10k for N = 11,000."""
    if options.data:
        name = f"{size // 1100}k"
        return str(options.data / f"{name}.emb.npz"), str(options.data / f"{name}.npz"), str(folder)
    files = str(folder / "vectors.npz"), str(folder / "labels.npz"), str(folder)
    run(*WORKER, f"{'clusters' if options.clusters else 'synthesize'}:{size}", *files)
    return files


def run(*command: str) -> str:
    """The last line that a fresh, single-threaded process prints."""
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}: {last}")
    return done.stdout.strip().rpartition("\n")[2]


def report(rows: Sequence[Row]) -> None:
    """One line a tool, then the ratios that matter."""
    for row in rows:
        disk = f", {row['disk_mib']:,.0f} MiB of disk" if "disk_mib" in row else ""
        print(f"N = {row['n']:,} {row['tool']:>9}: {row['cpu_s']:8.2f} CPU s, {row['peak_rss_mib']:8,.0f} MiB{disk}")
    by = {row["tool"]: row for row in rows}
    audit = by["audit"]
    for tool in ("default", "audit"):
        print(f"  {tool} takes {by[tool]['cpu_s'] / by['gemm']['cpu_s']:.2f}x the CPU time of the matrix product alone")
    if "selfclean" in by:
        cpu, memory = (by["selfclean"][key] / audit[key] for key in ("cpu_s", "peak_rss_mib"))
        print(f"  SelfClean takes {cpu:.1f}x the CPU time and {memory:.1f}x the memory of audit")
    for tool in filter(by.__contains__, PEERS):
        ours = "default" if tool == "datalab" else "neighbors"
        ratio = by[tool]["cpu_s"] / by[ours]["cpu_s"]
        print(f"  {tool} ({by[tool]['version']}) takes {ratio:.2f}x the CPU time of {ours}")


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def machine() -> str:
    """Processor, whether it multiplies bfloat16 itself, cores and memory."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    bf16 = "avx512_bf16, " if "avx512_bf16" in text else ""
    return f"{(names or [platform.processor()])[0]}, {bf16}{os.cpu_count()} cores, {memory:.0f} GiB"


if __name__ == "__main__":
    main()
