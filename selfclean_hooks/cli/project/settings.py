"""Options in pyproject.toml, and a command whose defaults come from there and whose help lists options in groups."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from selfclean_hooks.cli.options.gate import GateOptions
from selfclean_hooks.cli.output import say
from selfclean_hooks.errors import SettingError
from selfclean_hooks.sources.python_object import is_attribute

ON_REQUEST = {"update_baseline", "quiet", "help"}  # options that pyproject.toml does not set


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "pyproject.toml"
NAME = "selfclean-hooks"
SECTION = f"[tool.{NAME}]"
AS_FOLDER = ("output", "cache_dir", "baseline", "decisions", "images")  # paths from where the file lies
IF_THERE = ("source", "backbone")  # the same where there is such a file; else another kind of text


def section_of(path: Path) -> dict[str, Any] | None:
    """The section of a pyproject.toml; None: it has none.

    Raises:
        SettingError: the file names the section and is not TOML, or the section is no table.
    """
    try:
        content = path.read_text(encoding="utf-8")
        tool = tomllib.loads(content).get("tool", {})
    except (OSError, ValueError, RecursionError) as error:
        if not isinstance(error, (OSError, UnicodeDecodeError)) and NAME in content:
            raise SettingError(f"{path} holds settings and must be TOML: {error}") from None
        return None
    found = tool.get(NAME) if isinstance(tool, dict) else None
    if found is not None and not isinstance(found, dict):
        raise SettingError(f"tool.{NAME} in {path} must be a table of options, got {found!r}: write {SECTION}")
    return found


def find_settings(start: Path) -> tuple[Path, dict[str, Any]] | None:
    """The nearest file above a folder that has the section, and what it holds; None where there is none."""
    for folder in (start, *start.parents):
        if (found := section_of(folder / FILE)) is not None:
            return folder / FILE, found
    return None


def defaults_of(path: Path, section: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The section as defaults of options.

    Args:
        path: of the file, for messages and relative paths.
        section: key as on the command line, without the dashes before it: value.
        options: name: the option of the command line.

    Raises:
        SettingError: a key is no option, or a value is of no kind that its option takes.
    """
    defaults = {}
    for key, value in section.items():
        name = key.replace("-", "_")
        if name not in options:
            near = get_close_matches(name, options, 1, 0.5)
            cure = f"did you mean {near[0].replace('_', '-')}?" if near else "see selfclean-hooks audit --help"
            raise SettingError(f"{path} sets {key!r} in {SECTION}, which is no option of audit: {cure}")
        defaults[name] = _converted(f"{key} in {SECTION} of {path}", name, value, options[name], path.parent)
    return defaults


def _converted(what: str, name: str, value: Any, option: Any, folder: Path) -> Any:
    is_flag = getattr(option, "is_flag", False)
    if is_flag and isinstance(value, bool):
        return value
    takes_several = getattr(option, "multiple", False) or option.nargs == -1
    try:
        texts = [] if is_flag else [_placed(name, text, folder) for text in _texts(value)]
    except TypeError:
        texts = []
    if not texts or (len(texts) > 1 and not takes_several):
        kind = "true or false" if is_flag else "texts or numbers" if takes_several else "a text or a number"
        raise SettingError(f"{what} must be {kind}, got {value!r}")
    return texts if takes_several else texts[0]


def _texts(value: Any) -> Iterator[str]:
    """A text, a number, a list of these, or a table of them, which are written as KEY=VALUE."""
    if isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from (f"{key}={text}" for text in _texts(entry))
    elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(value)
    else:
        yield str(value)


def _placed(name: str, text: str, folder: Path) -> str:
    """A path relative to the file's folder as one that holds everywhere.

    Raises:
        SettingError: the text names code, which a file that came with data shall not run.
    """
    if name in AS_FOLDER:
        return str(_short(folder / text))
    if name not in IF_THERE or (folder / text).exists():
        return str(_short(folder / text)) if name in IF_THERE else text
    sign = "=" if name == "source" else ":"  # train=DIR, resnet18:FILE
    before, _, place = text.rpartition(sign)
    if place and (folder / place).exists():
        return f"{before}{sign}{_short(folder / place)}"
    if is_attribute(place if name == "source" else text):
        raise SettingError(
            f"{folder / FILE} sets {name} to code, {text}: code is run only where the command line names it"
        )
    return text


def _short(path: Path) -> Path:
    """Relative to the current folder where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


class Command(TyperCommand):
    """A command whose help lists options in groups, and whose defaults may come from pyproject.toml."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse with what pyproject.toml sets as defaults; help shows those of the command itself."""
        set_there = [] if ctx.resilient_parsing or {*ctx.help_option_names} & {*args} else self._take_settings(ctx)
        left: list[str] = super().parse_args(ctx, args)
        if set_there and not ctx.params.get("quiet"):
            say(f"settings of pyproject.toml: {', '.join(name.replace('_', '-') for name in set_there)}")
        return left

    def _take_settings(self, ctx: typer.Context) -> list[str]:
        """Names of the options that pyproject.toml sets."""
        shared = {field.name for field in fields(GateOptions)}
        own = {param.name for param in self.params}
        takes = own if self.name == "audit" else own & shared
        found = find_settings(Path.cwd()) if takes and ctx.parent is not None else None
        if found is None or ctx.parent is None:
            return []
        audit = ctx.parent.command.get_command(ctx.parent, "audit")  # type: ignore[attr-defined]
        options = {param.name: param for param in audit.params if param.name not in ON_REQUEST}
        ctx.default_map = {name: value for name, value in defaults_of(*found, options).items() if name in takes}
        return list(ctx.default_map)

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Arguments, then options by group, those of no group last."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                is_option = param.param_type_name == "option"
                name = (getattr(param, "rich_help_panel", None) or "Options") if is_option else "Arguments"
                groups.setdefault(name, []).append(record)
        groups["Options"] = groups.pop("Options", [])
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
