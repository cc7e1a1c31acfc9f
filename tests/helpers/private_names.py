"""Which private names of other libraries a module of the package uses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(r"_[A-Za-z][A-Za-z0-9_]*")
NAMEDTUPLE = {"_fields", "_replace", "_asdict", "_make"}  # documented
ATTRIBUTE_FUNCTIONS = {"getattr", "setattr", "hasattr", "delattr"}


def sources() -> list[Path]:
    """All modules of the package and its host packages."""
    return [path for folder in ("selfclean_hooks", "integrations") for path in sorted((ROOT / folder).rglob("*.py"))]


def private_names(code: str) -> set[str]:
    """Private names of objects other than `self`, in dots, imports or strings that are compared or looked up."""
    return {name for name in _attributes(ast.parse(code)) if PRIVATE.fullmatch(name)} - NAMEDTUPLE


def _attributes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ATTRIBUTE_FUNCTIONS:
            yield from _strings(node.args[1:2])
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.Compare):  # "name" in vars(object), type(object).__name__ == "name"
            yield from _strings([node.left, *node.comparators])


def _strings(nodes: list[ast.expr]) -> Iterator[str]:
    yield from (each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str))
