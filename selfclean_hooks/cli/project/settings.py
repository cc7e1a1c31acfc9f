"""Options of the command line in `[tool.selfclean-hooks]` of the nearest pyproject.toml that has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from selfclean_hooks.errors import SettingError
from selfclean_hooks.sources.python_object import is_attribute

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "pyproject.toml"
NAME = "selfclean-hooks"
SECTION = f"[tool.{NAME}]"
AS_FOLDER = ("output", "cache_dir", "baseline", "decisions")  # paths from where the file lies
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
