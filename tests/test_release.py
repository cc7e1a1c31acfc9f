"""One version everywhere, notes for it, a recipe like pyproject.toml, nothing overdue, and a budget that holds."""

import ast
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import selfclean_hooks
from release import size, version
from selfclean_hooks.errors import warn_deprecated

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CONDA = {"pytorch": "torch", "huggingface_hub": "huggingface-hub", "typing_extensions": "typing-extensions"}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in (*version.PLACES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_version_is_one() -> None:
    assert {name: {selfclean_hooks.__version__} for name in version.PLACES} == version.versions()


@pytest.mark.parametrize("wanted", ["9.8.7", "10.0.0rc2"])
def test_a_version_is_set_everywhere(copied: Path, wanted: str) -> None:
    before = (copied / "CHANGELOG.md").read_text(encoding="utf-8").partition("## Unreleased\n")[2]
    version.set_version(wanted, copied, today="2030-01-02")
    assert version.versions(copied) == {name: {wanted} for name in version.PLACES}
    assert "\ndate-released: 2030-01-02\n" in (copied / "CITATION.cff").read_text(encoding="utf-8")
    changes = (copied / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## Unreleased\n\n## {wanted} (2030-01-02)\n{before}" in changes
    assert version.notes_of(wanted, copied) == before.partition("\n## ")[0].strip() + "\n"
    with pytest.raises(ValueError, match="nothing below"):
        version.set_version("11.0.0", copied)


@pytest.mark.parametrize("wrong", ["v1.2.3", "1.2", "1.2.3-beta", ""])
def test_what_is_no_version_is_refused_and_writes_nothing(copied: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"0\.2\.0 or 0\.2\.0rc1"):
        version.set_version(wrong, copied)
    assert version.versions(copied) == version.versions()


def test_the_recipe_needs_what_the_package_needs() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = yaml.safe_load((ROOT / "release" / "recipe.yaml").read_text(encoding="utf-8"))
    wanted = {(Requirement(text).name, str(Requirement(text).specifier)) for text in project["dependencies"]}
    pairs = [line.split() for line in recipe["requirements"]["run"] if not line.startswith("python ")]
    assert {(CONDA.get(name, name), bound) for name, bound in pairs} == wanted
    scripts = [f"{name} = {place}" for name, place in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    assert recipe["about"]["license"] == project["license"]


def test_the_workflow_publishes_what_it_has_built_and_tested() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))["jobs"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    builds = [name for name, job in jobs.items() for step in job["steps"] if "uv build" in step.get("run", "")]
    assert builds == ["build"]
    writing = [name for name, job in jobs.items() if "write" in str(job.get("permissions", ""))]
    assert writing == ["publish"]
    oldest = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition('requires-python = ">=')[2][:4]
    assert jobs["test"]["strategy"]["matrix"]["python"][0] == oldest


def overdue(source: str, now: str) -> Iterator[str]:
    """Calls of `warn_deprecated` for what should be gone in this version."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn_deprecated"):
            given = dict(zip(("old", "instead", "goes_in"), node.args, strict=False))
            given |= {each.arg: each.value for each in node.keywords if each.arg}
            if Version(ast.literal_eval(given["goes_in"])) <= Version(now):
                yield ast.literal_eval(given["old"])


def test_nothing_deprecated_is_overdue() -> None:
    packages = [ROOT / "selfclean_hooks", *(ROOT / "integrations").glob("selfclean_hooks_*")]
    sources = [path.read_text(encoding="utf-8") for package in packages for path in package.rglob("*.py")]
    assert [old for source in sources for old in overdue(source, selfclean_hooks.__version__)] == []


@pytest.mark.parametrize(("now", "found"), [("0.3.9", []), ("0.4.0rc1", []), ("0.4.0", ["a"]), ("1.0.0", ["a"])])
def test_what_is_overdue_is_found(now: str, found: list[str]) -> None:
    assert list(overdue('def f():\n    warn_deprecated("a", "b", goes_in="0.4.0")\n', now)) == found


def test_a_deprecation_names_the_caller_the_cure_and_the_end() -> None:
    def old() -> int:
        warn_deprecated("old()", "new()", "0.4.0")
        return 1

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert old() == 1
    (one,) = caught
    assert (one.category, str(one.message)) == (FutureWarning, "old() goes in selfclean_hooks 0.4.0: use new() instead")
    assert "assert old() == 1" in Path(one.filename).read_text(encoding="utf-8").splitlines()[one.lineno - 1]


def test_what_a_user_downloads_stays_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size.main() == 0, (
        "see the captured table: argue for the new dependency, make it an extra, or raise the budget"
    )
    monkeypatch.setattr(size, "MEGABYTES", 100)
    assert size.main() == 1
    monkeypatch.setattr(size, "MEGABYTES", 1000)
    monkeypatch.setattr(size, "PACKAGES", 10)
    assert size.main() == 1


def test_builds_of_torch_are_counted_apart_and_extras_not_at_all() -> None:
    assert [size.is_build_of_torch(name) for name in ("torch", "nvidia-nccl-cu13", "torchvision", "torchmetrics")] == [
        True,
        True,
        False,
        False,
    ]
    assert {"torch", "numpy", "pytorch-lightning"} <= set(size.dependencies())
    assert not {"pytest", "matplotlib", "datasets", "transformers"} & set(size.dependencies())
