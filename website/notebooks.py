"""Tutorials: notebooks without outputs in the repository, run for the site and in the tests."""

import base64
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
EXECUTED = ROOT / "build" / "tutorials"
SECONDS = 120  # for a notebook, on two cores
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def execute(path: Path) -> Any:
    """A notebook with the outputs of a run in an empty folder; also written below `build/tutorials`.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where selfclean-hooks is
    with TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
        client.execute(env={**os.environ, "PATH": commands, "PYTHONWARNINGS": "ignore:IProgress"})  # no widgets
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / path.name)
    return notebook


def executed(path: Path) -> Any:
    """The notebook as it was last run, or run now if it changed since."""
    kept = EXECUTED / path.name
    if kept.exists() and kept.stat().st_mtime > path.stat().st_mtime:
        return nbformat.read(kept, as_version=4)
    return execute(path)


def write_page(path: Path, target: Path) -> None:
    """Write a notebook with its outputs as Markdown, images beside it, and the notebook to download."""
    target.mkdir(parents=True, exist_ok=True)
    notebook = executed(path)
    parts = []
    for at, cell in enumerate(notebook.cells):
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        parts += [_shown(output, target / f"{path.stem}-{at}.png") for output in cell.get("outputs", [])]
    nbformat.write(notebook, target / path.name)
    parts.append(f"[This notebook]({path.name}), with its outputs.")
    (target / f"{path.stem}.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _shown(output: Any, image: Path) -> str:
    if output.output_type == "stream":
        return f"```text\n{ESCAPES.sub('', output.text).rstrip()}\n```"
    data = output.data
    if "image/png" in data:
        image.write_bytes(base64.b64decode(data["image/png"]))
        return f"![output of the cell above]({image.name})"
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
        html = html.replace(' border="1" class="dataframe"', "")  # the theme styles tables without a class
        on_one_line = re.sub(r"\s*\n\s*", " ", html)  # an empty line would end it
        return f'<div style="overflow-x:auto">{on_one_line}</div>'
    return f"```text\n{data['text/plain']}\n```"
