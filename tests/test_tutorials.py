"""The tutorials run, as the documentation site shows them: `uv run --group docs pytest -m tutorials`."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))

pytestmark = pytest.mark.tutorials


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path) -> None:
    """Its own assertions hold, each cell of code was run, and none leaves a word on the error stream."""
    pytest.importorskip("nbclient", reason="uv sync --group docs")
    from website import notebooks

    cells: list[Any] = [cell for cell in notebooks.execute(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [out.text for cell in cells for out in cell.outputs if out.get("name") == "stderr"] == []
    assert any(cell.outputs for cell in cells)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_outputs_are_not_committed(path: Path) -> None:
    assert '"outputs": [],' in (text := path.read_text(encoding="utf-8"))
    assert text.count('"outputs"') == text.count('"outputs": []')
