"""The CI templates and the examples of their pages against the schemas of the services, shellcheck and each other."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.ci_templates.ci_steps import ACTION, BINARIES, GITLAB, HOOKS, ROOT, document, yaml_blocks

PAGES = {name: ROOT / "integrations" / name / "README.md" for name in ("github-action", "gitlab", "pre-commit")}
SCRIPTS = {step["name"]: step["run"] for step in document(ACTION)["runs"]["steps"] if "run" in step} | {
    f"gitlab {part}": "\n".join(document(GITLAB)[".selfclean-hooks"][part]) for part in ("before_script", "script")
}


def complaints(schema: str, *paths: Path, transform: bool = False) -> str:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    command += ["--data-transform", "gitlab-ci"] if transform else []
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def written(folder: Path, page: Path) -> list[Path]:
    blocks = yaml_blocks(page)
    assert blocks
    paths = [folder / f"{index}.yml" for index in range(len(blocks))]
    for path, block in zip(paths, blocks, strict=True):
        path.write_text(block)
    return paths


def test_the_action_is_one() -> None:
    assert complaints("github-actions", ACTION) == ""


def test_the_example_of_the_action_is_a_workflow(tmp_path: Path) -> None:
    assert complaints("github-workflows", *written(tmp_path, PAGES["github-action"])) == ""


def test_the_template_and_its_examples_are_gitlab_files(tmp_path: Path) -> None:
    assert complaints("gitlab-ci", GITLAB, *written(tmp_path, PAGES["gitlab"]), transform=True) == ""


@pytest.mark.parametrize(
    ("schema", "content"),
    [("github-actions", "runs: {using: composite}"), ("github-workflows", "jobs: []"), ("gitlab-ci", "a: {script: 1}")],
)
def test_schemas_can_complain(schema: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(content)
    assert "bad.yml" in complaints(schema, tmp_path / "bad.yml")


def test_the_example_gives_inputs_that_exist() -> None:
    workflow = yaml.safe_load(yaml_blocks(PAGES["github-action"])[0])
    (step,) = [step for step in workflow["jobs"]["audit"]["steps"] if "selfclean_hooks" in step["uses"]]
    assert set(step["with"]) <= set(document(ACTION)["inputs"])
    _, *path = step["uses"].partition("@")[0].split("/", 2)
    assert ROOT / path[1] == ACTION.parent


def test_the_examples_of_gitlab_set_variables_that_exist() -> None:
    known = set(document(GITLAB)[".selfclean-hooks"]["variables"])
    for block in yaml_blocks(PAGES["gitlab"]):
        given = set(yaml.safe_load(block)["audit-data"]["variables"])
        assert {name for name in given if name.startswith("SELFCLEAN_")} <= known


def rows(page: Path) -> dict[str, str]:
    """First and second column of the tables of a page."""
    return dict(re.findall(r"^\| `([\w-]+)` \| ([^|]*?) ?\|", page.read_text(), re.MULTILINE))


def test_pages_list_what_there_is() -> None:
    action = document(ACTION)
    defaults = {name: given.get("default", "") for name, given in action["inputs"].items()}
    listed = rows(PAGES["github-action"])
    assert {name: listed[name].strip("`") for name in defaults} == defaults
    assert set(listed) == set(defaults) | set(action["outputs"])
    variables = document(GITLAB)[".selfclean-hooks"]["variables"]
    assert {name: value.strip("`") for name, value in rows(PAGES["gitlab"]).items()} == variables
    assert set(rows(PAGES["pre-commit"])) == {hook["id"] for hook in yaml.safe_load(HOOKS.read_text())}


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_interpolated_into_a_script(name: str) -> None:
    assert "${{" not in SCRIPTS[name]
    assert "$[[" not in SCRIPTS[name]


def test_actions_are_pinned_to_a_major() -> None:
    used = [step["uses"] for step in document(ACTION)["runs"]["steps"] if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"(actions|github)/[\w/-]+@v\d+", name)] == []


def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name.replace(' ', '-')}.sh" for name in SCRIPTS]
    for path, script in zip(paths, SCRIPTS.values(), strict=True):
        path.write_text(f"#!/usr/bin/env bash\n{script}")
    command = [str(BINARIES / "shellcheck"), "--enable=quote-safe-variables,deprecate-which,avoid-nullary-conditions"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_version_of_the_template_is_that_of_the_project() -> None:
    ours = version("selfclean-hooks")
    package = Requirement(document(GITLAB)[".selfclean-hooks"]["variables"]["SELFCLEAN_PACKAGE"])
    assert package.name == "selfclean-hooks"
    assert package.specifier.contains(ours)
    for name, page in PAGES.items():
        assert f"v{ours}" in page.read_text(), name
