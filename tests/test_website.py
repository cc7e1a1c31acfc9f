"""The site's pages: links and lists hold in both renderers; options, names and layers are those of the code."""

from pathlib import Path

import pytest
from typer.main import get_command

from selfclean_hooks.cli.main import app
from website import pages, reference

ROOT = Path(__file__).parents[1]


def test_every_page_is_in_the_navigation_and_the_other_way_round(tmp_path: Path) -> None:
    pages.write_pages(tmp_path)
    named = set((ROOT / "zensical.toml").read_text(encoding="utf-8").split('"'))
    written = {path.relative_to(ROOT).as_posix() for path in pages.repository_pages()}
    missing = {name for name in written if name not in named}
    assert missing == set()
    assert all((tmp_path / name).is_file() for name in written)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("so:\n- a\n- b", "so:\n\n- a\n- b\n"),
        ("so:\n\n- a\n  b\n- c", "so:\n\n- a\n  b\n- c\n"),
        ("so:\n1. a", "so:\n\n1. a\n"),
        ("so\n| a |\n|---|", "so\n\n| a |\n|---|\n"),
        ("```\nso\n- a\n```", "```\nso\n- a\n```\n"),
    ],
)
def test_lists_and_tables_begin_after_an_empty_line(text: str, rendered: str) -> None:
    assert pages.with_blank_lines(text) == rendered


def test_links_to_code_lead_to_a_page_that_shows_it(tmp_path: Path) -> None:
    pages.write_pages(tmp_path)
    shown = (tmp_path / "examples/07_text.md").read_text(encoding="utf-8")
    assert (ROOT / "examples/07_text.py").read_text(encoding="utf-8") in shown
    assert "](../examples/07_text.md)" in (tmp_path / "docs/python.md").read_text(encoding="utf-8")


def test_each_option_stands_in_the_table_of_its_command_once() -> None:
    sections = reference.commands_page().split("\n## ")[1:]
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert [section.partition("\n")[0] for section in sections] == list(commands)
    for section, command in zip(sections, commands.values(), strict=True):
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `--")]
        wanted = [one.opts[0] for one in command.params if one.param_type_name == "option" and not one.hidden]
        assert sorted(row.split("`")[1] for row in rows) == sorted(wanted)


def test_each_public_name_stands_in_the_reference_once() -> None:
    for package in reference.PACKAGES:
        listed = [line for line in reference.python_page(package).splitlines() if line.startswith("::: ")]
        assert sorted(listed) == sorted(f"::: {package}.{name}" for name in reference.public_names(package))


def test_layers_are_drawn_and_written_as_the_contract_has_them() -> None:
    rows = [[name.removeprefix("selfclean_hooks.") for name in row] for row in reference.layers()]
    drawing = reference.layers_drawing()
    drawn = [drawing.find(f">{name}</text>") for row in rows for name in row]
    house = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The house")[2].partition("```\n\n")[0]
    written = [house.find("\n  " + " │ ".join(row)) for row in rows]
    for places in (drawn, written):
        assert -1 not in places
        assert places == sorted(places)
