"""A command whose help lists options in groups, and whose defaults may come from pyproject.toml."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from selfclean_hooks.cli.options import GateOptions
from selfclean_hooks.cli.output import say
from selfclean_hooks.cli.project.settings import defaults_of, find_settings

ON_REQUEST = {"update_baseline", "quiet", "help"}  # options that pyproject.toml does not set


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
