"""The package speaks the language of its field: words that it once had of its own are not in code, docs or outputs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = ("selfclean_hooks", "integrations", "benchmarks", "examples", "tests", "docs", ".ci", ".github")
KINDS = {".py", ".md", ".js", ".css", ".jinja", ".json", ".txt", ".toml", ".yml", ".yaml", ".sh"}
RETIRED = {  # pattern: what to say
    "foretold|foretells?|foretelling": "predicted",
    "told": "reported, shown, recorded or documented",
    "strangers?": "off-topic samples",
    "mend|mends|mended|mending": "fix",
    "pictures?|pictured|picturing": "image",
    "cuts?": "threshold",
    "yardsticks?": "local scale",
    "dust": "a homogeneous Poisson process",
    "lonely": "last batch of size 1",
    "opinions?": "leave-one-out predictors",
    "(?:has|have|had) (?:a|no) say": "contribute, are ignored",
    "speaks? (?:most )?for|most speaks for": "supports",
    "(?:is|are|be) called for good|known for good": "stable identifier",
    "come what may": "always",
    "no telling": "unavailable",
    "laid (?:on|through|over)": "composited onto, fitted to",
    "what the flags are worth": "estimated precision and recall",
    "fine (?:ones )?in a row": "consecutive non-issues",
    "look(?:ed)? at for \\d+%": "to inspect for 90% recall",
    "in all \\(95%\\)": "estimated total (95% interval)",
    "beyond the cut": "below the threshold only",
    "flags right": "precision",
    "neighbours of the same label": "k-NN label agreement",
    "as far as can be told": "estimated",
}
PATTERN = re.compile("|".join(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])" for word in RETIRED), re.IGNORECASE)
SPLIT_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
KEPT = {  # names in files that older versions read and wrote
    "selfclean_hooks/storage/array_schema.py": {"foretold"},
    "selfclean_hooks/embedding/pretrain/representation.py": {"pictures"},
    "selfclean_hooks/sources/folder_names.py": {"pictures"},  # what people call a folder
}
FINE = re.compile(r"cut (?:short|off)|short ?cuts?|\bcut -d", re.IGNORECASE)


def documents() -> list[Path]:
    files = [path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in KINDS]
    files += [path for path in ROOT.iterdir() if path.suffix in KINDS]
    return sorted(path for path in files if "__pycache__" not in path.parts and path != Path(__file__))


def retired_words(text: str) -> list[str]:
    """The retired words in a text, also as parts of names in snake_case and CamelCase."""
    return [found.group() for found in PATTERN.finditer(SPLIT_CAMEL.sub(" ", FINE.sub("", text)))]


def test_no_word_is_retired() -> None:
    found = []
    for path in documents():
        name = path.relative_to(ROOT).as_posix()
        kept = KEPT.get(name, set())
        lines = enumerate((f"name {name}", *path.read_text(encoding="utf-8").splitlines()))
        found += [
            f"{name}:{at}: {word}" for at, line in lines for word in retired_words(line) if word.lower() not in kept
        ]
    assert found == []


@pytest.mark.parametrize("text", ["as told", "PICTURES = 3", "pictureOf", "class PictureFiles", "Cuts", "is foretold."])
def test_they_are_found(text: str) -> None:
    assert len(retired_words(text)) == 1


@pytest.mark.parametrize("text", ["cut short", "a shortcut", "executed", "stolen", "recommended", "depicture"])
def test_others_are_not(text: str) -> None:
    assert retired_words(text) == []
