"""What README and docs say of files, commands and figures is so; README stays short."""

import re
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


PEERS = {  # row of the README: row of the benchmark
    "**selfclean_hooks**": "**default**, same draws",
    "SelfClean 0.0.39": "SelfClean 0.0.39",
    "cleanlab": "cleanlab",
    "fastdup 2.54, ten neighbours": "fastdup, ten neighbours",
    "imagededup, PHash": "imagededup PHash",
}


def rows(path: Path) -> dict[str, list[str]]:
    """First cell: the others, of all tables."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


def test_figures_of_peers_are_those_of_the_benchmark() -> None:
    shown, measured = rows(README), rows(ROOT / "benchmarks" / "quality" / "README.md")
    assert len(shown) == len(PEERS) + 2  # with the head and the line below it
    for name, peer in PEERS.items():
        assert shown[name] == [measured[peer][column] for column in (0, 3, 6)]
