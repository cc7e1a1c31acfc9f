"""Set the version of a release everywhere, and make of the changelog's "Unreleased" its notes: `version.py 0.2.0`."""

import re
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+(?:rc\d+)?")
PLACES = {  # file: what stands before the version
    "pyproject.toml": r'^version = "',
    "selfclean_hooks/__init__.py": r'^__version__ = "',
    "CITATION.cff": r"^version: ",
    "release/recipe.yaml": r"^  version: ",
    "integrations/github-action/README.md": r"github-action@v",
    "integrations/gitlab/README.md": r"selfclean-hooks~=|^    ref: v",
    "integrations/gitlab/selfclean-hooks.gitlab-ci.yml": r"selfclean-hooks~=",
    "integrations/pre-commit/README.md": r"^    rev: v",
}


def versions(root: Path = ROOT) -> dict[str, set[str]]:
    """File: the versions of the package that it names."""
    texts = {name: (root / name).read_text(encoding="utf-8") for name in PLACES}
    return {name: {version for _, version in _after(before).findall(texts[name])} for name, before in PLACES.items()}


def _after(before: str) -> re.Pattern[str]:
    return re.compile(rf"({before})({VERSION.pattern})", re.MULTILINE)


def set_version(version: str, root: Path = ROOT, today: str | None = None) -> None:
    """Write a version into all places, and its date into CITATION.cff and the changelog.

    Raises:
        ValueError: it is no version such as 0.2.0 or 0.2.0rc1, there are no notes for it, or a place lost its pattern.
    """
    if not VERSION.fullmatch(version):
        raise ValueError(f"a version such as 0.2.0 or 0.2.0rc1 was wanted, got {version!r}")
    date = today or datetime.now(timezone.utc).date().isoformat()
    written = {}
    for name, before in PLACES.items():
        text = (root / name).read_text(encoding="utf-8")
        written[name], count = _after(before).subn(rf"\g<1>{version}", text)
        if not count:
            raise ValueError(f"{name} names no version after {before}")
    written["CITATION.cff"] = re.sub(r"(?m)^date-released: .*$", f"date-released: {date}", written["CITATION.cff"])
    head, _, notes = (root / "CHANGELOG.md").read_text(encoding="utf-8").partition("## Unreleased\n")
    if not notes.partition("\n## ")[0].strip():
        raise ValueError('CHANGELOG.md has nothing below "## Unreleased": what does the release bring?')
    written["CHANGELOG.md"] = f"{head}## Unreleased\n\n## {version} ({date})\n{notes}"
    for name, text in written.items():
        (root / name).write_text(text, encoding="utf-8")


def notes_of(version: str, root: Path = ROOT) -> str:
    """What the changelog says of a version: the notes of its release.

    Raises:
        ValueError: it says nothing.
    """
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"(?ms)^## {re.escape(version)} [^\n]*\n(.*?)(?=^## |\Z)", changes)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no section for {version}")
    return found.group(1).strip() + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--notes"]:
        print(notes_of(sys.argv[2]), end="")
    else:
        set_version(sys.argv[1])
        print(f"next: git commit -am {sys.argv[1]} && git tag v{sys.argv[1]} && git push origin HEAD v{sys.argv[1]}")
