"""Tables and a plot from the rows that compare.py wrote.

python benchmarks/quality/summarise.py benchmarks/results/quality_peers.csv benchmarks/results/quality.csv \
    --representations efficientnet images --plot benchmarks/results/quality.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from judging import ISSUES

WHERE = ["data", "representation", "level", "kinds", "seed"]
Frame = pd.DataFrame


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Summary.")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    parser.add_argument("--representations", nargs="+", help="only these")
    options = parser.parse_args(argv)
    rows = read(options.files)
    if options.representations:
        rows = rows[rows.representation.isin(options.representations)]
    failed = rows[rows.issue == "failed"]
    for (tool, data), part in failed.groupby(["tool", "data"]):
        print(f"{tool} failed on {len(part)} settings of {data}\n")
    for issue in ISSUES:
        print(f"### {issue.replace('_', ' ')}\n\n{markdown(table(rows[rows.issue == issue]))}\n")
    if options.plot:
        plot(rows, options.plot)


def read(files: Sequence[Path]) -> Frame:
    """All rows; of two that tell the same the last counts."""
    rows = pd.concat([pd.read_csv(file) for file in files])
    last: Frame = rows.drop_duplicates([*WHERE, "tool", "issue"], keep="last")
    return last


def table(rows: Frame) -> Frame:
    """One row a tool: means over data, representations, kinds and levels; false flags on the data left clean.

    Tools ran on different settings where a run is unfinished or needs images: `runs` says on how many.
    """
    dirty, clean = rows[rows.level > 0], rows[rows.level == 0]
    by_tool = dirty.groupby("tool")
    wide = dirty.pivot_table(index="tool", columns="level", values="ap")
    wide.columns = pd.Index([f"AP {level:.0%}" for level in wide.columns])
    out = Frame({"AP": by_tool.ap.mean()}).join(wide)
    out = out.join(by_tool[["auroc", "f1", "best_f1"]].mean())
    out["false flags"] = (clean.flagged / clean.n).groupby(clean.tool).mean()
    out["cpu_s"] = by_tool.cpu_s.median()
    out["runs"] = by_tool.size()
    best: Frame = out.sort_values("AP", ascending=False)
    return best


def markdown(frame: Frame) -> str:
    names = {"auroc": "AUROC", "f1": "F1, own threshold", "best_f1": "best F1", "cpu_s": "CPU s"}
    heads = ["tool", *(names.get(column, column) for column in frame.columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for tool, row in frame.iterrows():
        cells = [_cell(str(column), value) for column, value in row.items()]
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(column: str, value: float) -> str:
    if pd.isna(value):
        return ""
    if column == "false flags":
        return f"{value:.2%}"
    return f"{value:.0f}" if column == "runs" else f"{value:.2f}" if column == "cpu_s" else f"{value:.3f}"


def plot(rows: Frame, file: Path) -> None:
    """Average precision against the level of contamination, one panel an issue, one line a tool."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = of_common_seeds(rows)
    tools = sorted(rows.tool.unique(), key=lambda tool: (tool != "default", tool != "selfclean", tool.lower()))
    colours = dict(zip(tools, ["#c1121f", "#003049", *map(pyplot.get_cmap("tab20"), range(2, 20))], strict=False))
    figure, panels = pyplot.subplots(1, len(ISSUES), figsize=(13, 3.8), sharey=True)
    for panel, issue in zip(panels, ISSUES, strict=True):
        dirty = rows[(rows.issue == issue) & (rows.level > 0) & rows.ap.notna()]
        for tool in [tool for tool in tools if (dirty.tool == tool).any()]:
            mean = dirty[dirty.tool == tool].groupby("level").ap.mean()
            width = 2.8 if tool in tools[:2] else 1.2
            panel.plot(mean.index * 100, mean, marker="o", ms=4, lw=width, color=colours[tool], label=str(tool))
        panel.set(title=issue.replace("_", " "), xscale="log", xlabel="contamination, %", ylim=(0, 1))
        panel.set_xticks([1, 5, 10, 20], ["1", "5", "10", "20"])
        panel.minorticks_off()
    panels[0].set_ylabel("average precision")
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.tight_layout(rect=(0, 0, 0.83, 1))
    figure.legend(lines.values(), lines.keys(), loc="center right", fontsize=8, frameon=False)
    figure.savefig(file, dpi=90)


def of_common_seeds(rows: Frame) -> Frame:
    """The rows of seeds that every tool was run with: means of other draws do not compare."""
    common = set.intersection(*(set(part.seed) for _, part in rows.groupby("tool")))
    kept: Frame = rows[rows.seed.isin(common)]
    return kept


if __name__ == "__main__":
    main()
