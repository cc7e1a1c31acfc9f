"""Runs the scripts of the CI templates as the services would: same shell, same options, same environment."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "integrations" / "github-action" / "action.yml"
GITLAB = ROOT / "integrations" / "gitlab" / "selfclean-hooks.gitlab-ci.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
BINARIES = Path(sysconfig.get_path("scripts"))

# Stands in for the command: quick, writes down how it was called, and ends as STUB_* say.
STUB = f"""#!{sys.executable} -IS
import json, os, pathlib, sys
words = sys.argv[1:]
with open(os.environ["STUB_CALLS"], "a") as file:
    file.write(json.dumps(words) + "\\n")
given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
if words[0] == "audit":
    output = pathlib.Path(given.get("--output", "audit") + os.environ.get("STUB_BESIDE", ""))
    status = int(os.environ.get("STUB_AUDIT", 0))
    if status <= 1 and "STUB_SAVES_NOT" not in os.environ:
        output.mkdir(parents=True, exist_ok=True)
        (output / os.environ.get("STUB_SAVES", "manifest.json")).write_text("{{}}")
    if "--cache-dir" in given:
        pathlib.Path(given["--cache-dir"]).mkdir(parents=True, exist_ok=True)
        pathlib.Path(given["--cache-dir"], "one").write_text("embedding")
else:
    status = int(os.environ.get("STUB_GATE", os.environ.get("STUB_AUDIT", 0)))
    made = given.get("--format", "table")
    print("made as " + made)
print(os.environ.get("STUB_SAYS", "nothing to say"), file=sys.stderr)
sys.exit(status)
"""


@dataclass
class Ran:
    """What a script did."""

    status: int
    log: str
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""


def document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def yaml_blocks(page: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def stub(folder: Path) -> Path:
    """A folder for the PATH with a stand-in for the command."""
    path = folder / "stub" / "selfclean-hooks"
    path.parent.mkdir()
    path.write_text(STUB)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.parent


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def environment(folder: Path, binaries: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(binaries), str(BINARIES), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "STUB_CALLS": str(folder / "calls"), "LC_ALL": "C.UTF-8", **more}


class Action:
    """The composite action: its inputs, and its `run` steps in the folder of a workflow."""

    def __init__(self, folder: Path, binaries: Path, **inputs: str) -> None:
        self.content = document(ACTION)
        unknown = set(inputs) - set(self.content["inputs"])
        assert not unknown, f"the runner would only warn of {unknown}"
        defaults = {name: given.get("default", "") for name, given in self.content["inputs"].items()}
        self.known: dict[str, str] = {f"inputs.{name}": value for name, value in {**defaults, **inputs}.items()}
        self.folder, self.binaries = folder, binaries
        self.temporary = folder / "runner temp"
        self.temporary.mkdir(exist_ok=True)

    def step(self, name: str) -> dict[str, Any]:
        (found,) = [step for step in self.content["runs"]["steps"] if step["name"] == name]
        assert isinstance(found, dict)
        return found

    def value(self, text: str) -> str:
        """`${{ ... }}` filled in, for the few expressions that the `env` blocks hold."""

        def fill(match: re.Match[str]) -> str:
            words = match[1].strip()
            condition = re.fullmatch(r"inputs\.cache == 'true' && (\S+) \|\| ''", words)
            if condition:
                return self.known[condition[1]] if self.known["inputs.cache"] == "true" else ""
            return self.known.get(words, "") if words.startswith("steps.") else self.known[words]

        return re.sub(r"\$\{\{(.*?)\}\}", fill, text)

    def run(self, name: str, **more: str) -> Ran:
        """One step, as the runner does it for `shell: bash`."""
        step = self.step(name)
        script, output, summary = (self.temporary / part for part in ("script.sh", "output", "summary"))
        script.write_text(step["run"])
        output.write_text("")
        summary.write_text("")
        given = {key: self.value(value) for key, value in step.get("env", {}).items()}
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
        reported = {"RUNNER_TEMP": str(self.temporary), "GITHUB_ACTION_PATH": str(ACTION.parent), **files}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder,
            env=environment(self.folder, self.binaries, **reported, **given, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        outputs = read_outputs(output.read_text())
        self.known |= {f"steps.{step.get('id', '')}.outputs.{key}": value for key, value in outputs.items()}
        return Ran(done.returncode, done.stdout, outputs, summary.read_text())

    def run_all(self, **more: str) -> tuple[Ran, Ran]:
        """The steps Install (what is there already), Audit and Verdict; returns the last two."""
        self.known["inputs.package"] = "installed"
        assert self.run("Install", **more).status == 0
        return self.run("Audit", **more), self.run("Verdict", **more)


def read_outputs(text: str) -> dict[str, str]:
    """GITHUB_OUTPUT as the runner reads it: `name=value`, or `name<<END`, lines, `END`."""
    outputs, lines = {}, iter(text.splitlines())
    for line in lines:
        if match := re.fullmatch(r"([\w-]+)<<(.+)", line):
            taken: list[str] = []
            while (part := next(lines)) != match[2]:
                taken.append(part)
            outputs[match[1]] = "\n".join(taken)
        else:
            name, equals, value = line.partition("=")
            assert equals, f"not a line of GITHUB_OUTPUT: {line!r}"
            outputs[name] = value
    return outputs


def gitlab(folder: Path, binaries: Path, *parts: str, **variables: str) -> Ran:
    """The job's script (or the `parts` named), as the runner does it: lines joined and evaluated, no standard input."""
    job = document(GITLAB)[".selfclean-hooks"]
    lines = [line for part in parts or ["script"] for line in job[part]]
    done = subprocess.run(
        ["bash", "-c", 'set -eo pipefail\nset +o noclobber\n: | eval "$SCRIPT"\nexit 0'],
        cwd=folder,
        env=environment(folder, binaries, SCRIPT="\n".join(lines), **{**job["variables"], **variables}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return Ran(done.returncode, done.stdout)
