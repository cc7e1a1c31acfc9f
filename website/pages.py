"""The pages of the site: the repository's own, at the places that they have in it, so that their links hold in both."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATTERNS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "examples/README.md",
    "benchmarks/**/README.md",
    "integrations/**/README.md",
    "selfclean_hooks/detectors/README.md",
)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
GENERATED = {("docs", "reference"), ("docs", "tutorials")}
CODE = {".py": "python", ".sh": "sh"}


def repository_pages() -> list[Path]:
    """The Markdown files that are pages of the site."""
    return sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})


def write_pages(target: Path) -> None:
    """Copy all pages into a folder, with the files that they link to; code is shown on a page of its own.

    Raises:
        FileNotFoundError: a link leads to nothing.
    """
    pages = repository_pages()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for to, anchor in dict.fromkeys(LINK.findall(text)):
            text = text.replace(f"]({to}{anchor})", _in_site(page, to, anchor, pages, target))
        _write(target / page.relative_to(ROOT), with_blank_lines(text))


def _in_site(page: Path, to: str, anchor: str, pages: list[Path], target: Path) -> str:
    """What follows the text of a link, after files that are no pages were copied."""
    path = (page.parent / to).resolve()
    name = path.relative_to(ROOT)
    if path in pages or name.parts[:2] in GENERATED:
        return f"]({to}{anchor})"
    if path.is_dir():
        return f"]({to.rstrip('/')}/README.md{anchor})" if path / "README.md" in pages else "]"
    if path.suffix in CODE:
        _write((target / name).with_suffix(".md"), f"# {name}\n\n```{CODE[path.suffix]}\n{path.read_text()}```\n")
        return f"]({Path(to).with_suffix('.md').as_posix()})"
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target / name)
    return f"]({to})"


def with_blank_lines(text: str) -> str:
    """Markdown with an empty line before lists and tables: GitHub does without, Python's Markdown does not."""

    def lines() -> Iterator[str]:
        before, fenced = "", False
        for line in text.splitlines():
            fenced ^= line.lstrip().startswith("```")
            begins = any(re.match(mark, line) and not re.match(mark, before) for mark in (r"[-*] |\d+\. ", r"\|"))
            if begins and before and not fenced and not before.startswith(("  ", "#")):
                yield ""
            yield line
            before = line

    return "\n".join(lines()) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
