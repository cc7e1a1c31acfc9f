"""Build the documentation site into build/site, strictly and offline: `uv run --group docs python -m website.build`."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from website import notebooks, pages, reference

ROOT = pages.ROOT
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
LOADED = re.compile(  # what a browser fetches by itself; links that people follow are not meant
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?https?:[^>]*>"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|alternate|prev|next)\b)[^>]*\bhref=[\"']?https?:[^>]*>"
    r"|url\([\"']?https?:[^)]*\)|@import\s[^;]*https?:[^;]*"
)
UNRENDERED = re.compile(r"<p>[^<]*\n(?:[-*] |\||\d+\. )")  # a list or table that Markdown took for text


def collect() -> None:
    """Write all pages below build/pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    pages.write_pages(PAGES)
    shutil.copy(Path(__file__).with_name("extra.css"), PAGES)
    folder = PAGES / "docs" / "reference"
    folder.mkdir(parents=True)
    made = {f"{package}.md": reference.python_page(package) for package in reference.PACKAGES}
    made |= {"commands.md": reference.commands_page(), "architecture.md": reference.architecture_page()}
    for name, text in (made | {"errors.md": reference.errors_page()}).items():
        (folder / name).write_text(text, encoding="utf-8")
    for notebook in notebooks.TUTORIALS:
        notebooks.write_page(notebook, PAGES / "docs" / "tutorials")


def problems() -> Iterator[str]:
    """What is wrong with the built site."""
    for path in sorted(SITE.rglob("*")):
        if path.suffix not in {".html", ".css"}:
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(SITE)
        yield from (f"{name}: a request to elsewhere: {found:.120}" for found in LOADED.findall(text))
        yield from (f"{name}: not rendered: {found:.120}" for found in UNRENDERED.findall(text))
    for package in reference.PACKAGES:
        text = (SITE / "docs" / "reference" / package / "index.html").read_text(encoding="utf-8")
        missing = [name for name in reference.public_names(package) if f'id="{package}.{name}"' not in text]
        yield from (f"{package}.{name} is not in the reference" for name in missing)


def main() -> int:
    """The exit status: 0 if there is nothing to report."""
    collect()
    shutil.rmtree(SITE, ignore_errors=True)
    zensical = Path(sys.executable).with_name("zensical")
    status = subprocess.run([zensical, "build", "--strict", "--clean"], cwd=ROOT, check=False).returncode
    found = list(problems()) if status == 0 else []
    print(*found, sep="\n", file=sys.stderr)
    return status or bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
