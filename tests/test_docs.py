"""What README and docs say of files, commands and figures is so; README stays short."""

import csv
import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from typer.main import get_command

from selfclean_hooks.cli.main import app
from website.pages import repository_pages

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = repository_pages()  # of the site, whose build checks what follows the # too


def blocks(path: Path, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_readme_is_short_and_begins_with_the_two_commands() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120
    commands = ["pip install uv && uv run selfclean-hooks demo\n", "pip install uv && uv run pytest\n"]
    assert blocks(README, "sh")[:2] == commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith(("https://", "#"))]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_are_python_and_commands_have_their_options(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, rest in re.findall(r"selfclean-hooks (\w+)\b([^`\n|&]*)", page.read_text(encoding="utf-8")):
        assert name in commands, (page.name, name)
        known = {
            option for parameter in commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"(?<!\w)--[\w-]+", rest)) <= known | {"--help"}, (page.name, name, rest)


PEERS = {  # row of the README: tools of the benchmark that give its label errors and the rest
    "**selfclean_hooks**": ("default", "default"),
    "SelfClean 0.0.39": ("SelfClean", "SelfClean"),
    "cleanlab 2.9, with predictions for labels": ("cleanlab + predictions", "cleanlab"),
    "fastdup 2.54, ten neighbours": ("fastdup 10 neighbours", "fastdup 10 neighbours"),
    "imagededup 0.3, PHash": ("imagededup PHash", "imagededup PHash"),
}
REAL = ("CIFAR-10N aggre", "CIFAR-10N random1", "CIFAR-10N worst"), ("CIFAR-10 test pairs",), ("photographs",)


def rows(path: Path) -> dict[str, list[str]]:
    """First cell: the others, of all tables."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


def test_figures_of_peers_are_those_of_the_benchmark() -> None:
    """Average precision to two places, or none where the tool does not look for the issue."""
    with (ROOT / "benchmarks" / "results" / "quality_real.csv").open(newline="") as file:
        measured = {(row["data"], row["tool"]): row["ap"] for row in csv.DictReader(file)}
    shown = rows(README)
    assert len(shown) == len(PEERS) + 2  # with the head and the line below it
    for name, (of_labels, other) in PEERS.items():
        for cell, data in zip(shown[name], REAL, strict=True):
            figures = [measured.get((one, of_labels if len(data) > 1 else other), "") for one in data]
            rounded = [f"{Decimal(figure).quantize(Decimal('.01'), ROUND_HALF_UP)}"[1:] for figure in figures if figure]
            assert cell.replace("*", "").split(" / ") == (rounded or [""])
