"""Pages made from the code: public names, options of the commands, and the layers of the import contract."""

import ast
from collections.abc import Iterator
from configparser import ConfigParser
from enum import Enum
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from typer.main import get_command

from selfclean_hooks.cli.main import app

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "selfclean_hooks": "Python",
    "selfclean_hooks_lightning": "Lightning",
    "selfclean_hooks_transformers": "transformers",
    "selfclean_hooks_pytest": "pytest",
}
WIDTH, ROW = 760, 46  # of the drawing, in its own units


def _source(module: str) -> ast.Module:
    """A module as it is written: nothing is imported."""
    top, *rest = module.split(".")
    place = (ROOT if top == "selfclean_hooks" else ROOT / "integrations").joinpath(top, *rest)
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def public_names(package: str) -> list[str]:
    """What `from package import *` gives: functions, then classes."""
    listed = next(
        ast.literal_eval(node.value)
        for node in _source(package).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return sorted(listed, key=lambda name: (name[0].isupper(), name))


def python_page(package: str) -> str:
    """Markdown for mkdocstrings: each public name of a package, once."""
    head = f"# {PACKAGES[package]}\n\n{ast.get_docstring(_source(package))}\n"
    return "\n".join([head, *(f"::: {package}.{name}\n" for name in public_names(package))])


def errors_page() -> str:
    """Markdown of the exceptions and warnings."""
    return "# Errors\n\n::: selfclean_hooks.errors\n    options:\n        show_root_heading: false\n"


def commands_page() -> str:
    """Markdown with a table of options for each command; those of `audit` may stand in pyproject.toml too."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    head = (
        "# Options of the commands\n\nMade from the commands themselves. Options of `audit`, and those that `gate`, "
        "`report`, `apply` and `export` share with it, may stand in `[tool.selfclean-hooks]` of `pyproject.toml`, "
        "named as here without the two dashes.\n"
    )
    return "\n".join([head, *(line for name in commands for line in _command(name, commands[name]))])


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}\n"
    yield command.help.split("\n\n")[0].replace("\n", " ") + "\n"
    arguments = " ".join(one.metavar for one in command.params if one.param_type_name == "argument")
    yield f"```sh\nselfclean-hooks {name} {arguments}\n```\n"
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    groups = list(dict.fromkeys(_group(one) for one in options))
    for group, members in groupby(sorted(options, key=lambda one: groups.index(_group(one))), key=_group):
        yield f"**{group}**\n\n| option | default | what it does |\n|---|---|---|"
        yield from (_option(one) for one in members)
        yield ""


def _group(option: Any) -> str:
    return getattr(option, "rich_help_panel", None) or "Options"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    takes = "" if option.is_flag else f" {_values(option)}"
    default = getattr(option.default, "value", option.default)  # of an enumeration
    shown = "" if default in (None, "", False) else "yes" if default is True else f"`{default}`"
    return f"| {names}{takes} | {shown} | {option.help} |".replace("[SPLIT=]", "\\[SPLIT=]")


def _values(option: Any) -> str:
    """What an option takes: its choices, or the word for it in the help text."""
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{one.value}`" for one in kind)
    return str(option.metavar or getattr(kind, "__name__", kind)).upper()


def layers() -> list[list[str]]:
    """The rows of the import contract, from the top."""
    contract = ConfigParser()
    contract.read(ROOT / ".importlinter")
    rows = contract["importlinter:contract:layers"]["layers"].split("\n")
    return [row.replace("|", " ").replace(":", " ").split() for row in rows if row]


def architecture_page() -> str:
    """Markdown: the layers drawn, and what the packages say of themselves."""
    table = [f"| `{name}` | {_described(name)} |" for row in layers() for name in row]
    head = (
        "# Architecture\n\nDrawn from the import contract that `uv run lint-imports` checks: a module imports only "
        "from rows below its own, and packages in one row do not know each other. What flows through them, and where "
        "to add things: [contributing](../../CONTRIBUTING.md#the-house).\n"
    )
    return "\n".join([head, layers_drawing(), "\n| package | what it holds |\n|---|---|", *table, ""])


def _described(name: str) -> str:
    return (ast.get_docstring(_source(name)) or "").split("\n\n")[0].replace("\n", " ")


def layers_drawing() -> str:
    """The layers as inline SVG, in the colours of the page around it."""
    rows = layers()
    boxes = [box for at, row in enumerate(rows) for box in _boxes(row, at * ROW)]
    head = f'<svg viewBox="0 0 {WIDTH} {ROW * len(rows)}" role="img" aria-label="Layers" style="max-width:100%">'
    return "\n".join([head, *boxes, "</svg>"])


def _boxes(row: list[str], top: int) -> Iterator[str]:
    width = WIDTH / len(row)
    for at, name in enumerate(row):
        box = f'x="{at * width + 3:.0f}" y="{top + 3}" width="{width - 6:.0f}" height="{ROW - 10}" rx="5"'
        yield f'<rect {box} fill="none" stroke="currentColor"/>'
        text = f'x="{(at + 0.5) * width:.0f}" y="{top + 26}" text-anchor="middle" fill="currentColor" font-size="14"'
        yield f"<text {text}>{escape(name.removeprefix('selfclean_hooks.'))}</text>"
