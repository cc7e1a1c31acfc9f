"""`selfclean-hooks init`: commented settings in pyproject.toml, and a job for CI. Nothing is replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from selfclean_hooks import __version__
from selfclean_hooks.cli.output import interrupts_as_errors, show
from selfclean_hooks.cli.project.settings import FILE, SECTION, section_of
from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.files import read, write

SETTINGS = f"""{SECTION}  # options of `selfclean-hooks audit`; what the command line says wins
source = @source@  # a folder, a table or a .npz; splits: ["train=data/train", "val=data/val"]
cache-dir = ".selfclean-cache"  # keeps embeddings: the next audit embeds only what is new
# backbone = "encoder.safetensors"  # of `selfclean-hooks pretrain`, or a timm name: the same encoder in every run

# The audit fails beyond these: shares ("1%") or numbers of samples ("count:5"). Tighten them after the first review.
max-near-duplicates = "5%"
max-off-topic = "5%"
max-label-errors = "5%"
# max-leakage = {{ val = "count:0" }}  # samples of the training split in another one
# baseline = "accepted.jsonl"  # findings listed there do not count; `selfclean-hooks gate` writes it
# decisions = "decisions.json"  # what was decided in the report
"""
GITHUB = """# Audits the images. Limits and all else: [tool.selfclean-hooks] in pyproject.toml
name: data audit
on:
  pull_request:
jobs:
  audit:
    runs-on: ubuntu-latest
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@v7
        with:
          lfs: true # pointers to images are no images
      - uses: actions/setup-python@v7
        with:
          python-version: "3.12"
      - uses: actions/cache@v6
        with:
          path: .selfclean-cache
          key: selfclean-hooks-${{ github.run_id }}
          restore-keys: selfclean-hooks-
      - run: python -m pip install uv && uv pip install --system --torch-backend cpu "selfclean-hooks~=@version@"
      - run: selfclean-hooks audit
      - uses: actions/upload-artifact@v7
        if: always()
        with:
          name: data-audit
          path: audit
"""
GITLAB = """# Audits the images. Limits and all else: [tool.selfclean-hooks] in pyproject.toml
audit-data:
  image: python:3.12
  script:
    - python -m pip install uv && uv pip install --system --torch-backend cpu "selfclean-hooks~=@version@"
    - selfclean-hooks audit
  cache:
    key: selfclean-hooks
    paths: [.selfclean-cache]
    when: always
  artifacts:
    paths: [audit]
    when: always
"""


class Service(str, Enum):
    """Where the job runs."""

    github = "github"
    gitlab = "gitlab"
    none = "none"


JOBS = {
    Service.github: (Path(".github/workflows/data-audit.yml"), GITHUB, ""),
    Service.gitlab: (
        Path("data-audit.gitlab-ci.yml"),
        GITLAB,
        "include it in .gitlab-ci.yml: include: {local: @file@}",
    ),
}


def init(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="What is to be audited, as for audit.")
    ] = "data/train",
    ci: Annotated[Service, typer.Option("--ci", help="Write a job for this service.")] = Service.github,
) -> None:
    """Write settings into pyproject.toml, and a job for CI.

    The settings are commented; the job audits the data. Nothing is replaced.

    Examples:

      selfclean-hooks init data/train

      selfclean-hooks init data/train --ci gitlab
    """
    with interrupts_as_errors("nothing was replaced"):
        for line in (*_write_settings(source), *_write_job(ci)):
            show(line)
        show("next: selfclean-hooks audit")


def _write_settings(source: str) -> Iterator[str]:
    path = Path(FILE)
    before = read(path).decode("utf-8", "replace") if path.exists() else ""
    try:
        if path.exists() and section_of(path) is not None:
            yield f"{path} has {SECTION} already: left as it is"
            return
    except SettingError as error:
        raise SettingError(f"{error}. Fix it first: nothing was written") from None
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    write(path, f"{before}{gap}{SETTINGS.replace('@source@', json.dumps(source))}".encode())
    yield f"{path}: settings {'added' if before else 'written'}"


def _write_job(ci: Service) -> Iterator[str]:
    if ci is Service.none:
        return
    path, text, hint = JOBS[ci]
    if path.exists():
        yield f"{path} is there already: left as it is"
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text.replace("@version@", __version__).encode())
    yield f"{path}: a job that runs the audit written"
    if hint:
        yield hint.replace("@file@", str(path))
