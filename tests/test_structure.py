"""The house stays in order: small files and folders, and late imports only where the design allows them."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "selfclean_hooks", *(ROOT / "integrations").glob("selfclean_hooks_*")]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
LINES = 250  # of a file, at most
ENTRIES = 13  # of a folder, at most; the root holds the packages
LATE = (  # these keep `import selfclean_hooks` and a gate on a saved audit light
    "*/__init__.py",
    "selfclean_hooks/audits/*",
    "selfclean_hooks/cli/*",
    "selfclean_hooks/results/finding_neighbors.py",
    "selfclean_hooks/data/previews.py",
    "selfclean_hooks/embedding/pretrain/run.py",  # training needs lightning, reading an encoder does not
    "selfclean_hooks/neighbors/split_shift.py",
    "selfclean_hooks/sources/source.py",
    "integrations/selfclean_hooks_pytest/*",  # pytest loads the plugin in every run
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def late_imports(source: str) -> Iterator[str]:
    """Modules of the project's own that are imported inside of functions."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                yield from (name for name in names if name.startswith("selfclean_hooks"))


def test_no_file_is_longer_than_one_reads_in_one_sitting() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > LINES} == {}


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in MODULES if path.parent != ROOT / "selfclean_hooks"}
    entries = {name_of(f): len([e for e in f.iterdir() if e.name != "__pycache__"]) for f in folders}
    assert {name: n for name, n in entries.items() if n > ENTRIES} == {}


def test_imports_stand_at_the_top() -> None:
    late = {name_of(path): sorted(set(late_imports(path.read_text(encoding="utf-8")))) for path in MODULES}
    allowed = {name for name in late if any(fnmatch(name, pattern) for pattern in LATE)}
    assert {name: found for name, found in late.items() if found and name not in allowed} == {}


def test_late_imports_are_found() -> None:
    within = "def f():\n    from selfclean_hooks.gate import limits\n    import selfclean_hooks.audits\n"
    source = f"import selfclean_hooks.core\n{within}"
    assert set(late_imports(source)) == {"selfclean_hooks.gate", "selfclean_hooks.audits"}
