"""The hooks, run by pre-commit itself; its install step is left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ci_templates.ci_steps import HOOKS, ROOT, calls, environment, stub, yaml_blocks

PAGE = ROOT / "integrations" / "pre-commit" / "README.md"


def pre_commit(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    home = {"PRE_COMMIT_HOME": str(folder / "home"), "GIT_CONFIG_GLOBAL": os.devnull, **more}
    command = [sys.executable, "-m", "pre_commit", *words]
    binaries = folder / "stub"
    return subprocess.run(
        command, cwd=folder, env=environment(folder, binaries, **home), capture_output=True, text=True, check=False
    )


def test_the_manifest_is_one(tmp_path: Path) -> None:
    assert pre_commit(tmp_path, "validate-manifest", str(HOOKS)).returncode == 0
    (tmp_path / "bad.yaml").write_text("- id: audit\n")
    assert pre_commit(tmp_path, "validate-manifest", str(tmp_path / "bad.yaml")).returncode == 1


def test_the_examples_are_configurations(tmp_path: Path) -> None:
    known = {hook["id"] for hook in yaml.safe_load(HOOKS.read_text())}
    for block in yaml_blocks(PAGE):
        (tmp_path / "config.yaml").write_text(block)
        done = pre_commit(tmp_path, "validate-config", str(tmp_path / "config.yaml"))
        assert done.returncode == 0, done.stdout
        assert {hook["id"] for repository in yaml.safe_load(block)["repos"] for hook in repository["hooks"]} <= known


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with an image and a saved audit, and with both hooks, which run the command on the PATH."""
    stub(tmp_path)
    project = tmp_path / "project"  # where the hooks come from
    project.mkdir()
    shutil.copy(HOOKS, project)
    commit = ["-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "--quiet", "-m", "hooks"]
    for words in (["init", "--quiet"], ["add", HOOKS.name], commit, ["tag", "v1"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    arguments = {"selfclean-hooks-audit": ["my photos", "--max-total", "1%"], "selfclean-hooks-gate": ["$(touch x)"]}
    hooks = [{"id": name, "language": "system", "args": given} for name, given in arguments.items()]
    config = {"repos": [{"repo": str(project), "rev": "v1", "hooks": hooks}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "a.png").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "manifest.json").touch()
    for words in (["init", "--quiet"], ["add", ".pre-commit-config.yaml", "a.png", "saved"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("status", ["0", "1", "2"])
def test_hooks_end_as_the_command_does(status: str, repository: Path) -> None:
    done = pre_commit(repository, "run", "--hook-stage", "manual", "--files", "a.png", STUB_AUDIT=status)
    words = ["audit", "--no-progress", "my photos", "--max-total", "1%"]
    assert calls(repository) == [words]
    assert done.returncode == (status != "0")
    assert (f"exit code: {status}" in done.stdout) == (status != "0")


def test_hooks_run_for_their_files(repository: Path) -> None:
    (repository / "notes.txt").touch()
    pre_commit(repository, "run", "--hook-stage", "manual", "--files", "notes.txt")
    assert not (repository / "calls").exists()
    pre_commit(repository, "run", "--hook-stage", "manual", "--files", "saved/manifest.json")
    assert calls(repository) == [["gate", "$(touch x)"]]
    assert not (repository / "x").exists()


def test_hooks_do_not_run_at_each_commit(repository: Path) -> None:
    pre_commit(repository, "run", "--files", "a.png")
    assert not (repository / "calls").exists()
