"""What docs/pipelines.md says, run as it stands with the real tools, where they are installed.

uv run --with dvc,mlflow-skinny,wandb,dagster pytest -n 0 tests/ci_templates/test_pipelines.py
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from selfclean_hooks import Audit, audit_embeddings
from tests.ci_templates.ci_steps import BINARIES, ROOT, yaml_blocks

PAGE = ROOT / "docs" / "pipelines.md"
VARIABLES = {"WANDB_SILENT": "true", "DVC_NO_ANALYTICS": "1", "DAGSTER_DISABLE_TELEMETRY": "1"}


def code_of(tool: str) -> str:
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {tool}\n")[2]
    code: str = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    return code


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """An audit with three copies and a wrong label, saved as `audit`."""
    monkeypatch.chdir(tmp_path)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    made = audit_embeddings(*embeddings(), progress=False)
    made.save("audit")
    return made


def embeddings() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng, labels = np.random.default_rng(0), np.arange(60) % 2
    vectors = (np.eye(16)[labels] * 4 + rng.normal(size=(60, 16)) * 0.5).astype(np.float32)
    vectors[[10, 20]] = vectors[0]
    return vectors, np.where(np.arange(60) == 33, 0, labels)


def test_mlflow_gets_shares_and_files(found: Audit) -> None:
    mlflow = pytest.importorskip("mlflow")
    names: dict[str, Any] = {"found": found}
    exec(code_of("MLflow"), names)
    run = mlflow.last_active_run()
    assert run.data.metrics == {f"audit/{issue}": share for issue, share in found.contamination.items()}
    kept = {Path(each.path).name for each in mlflow.MlflowClient().list_artifacts(run.info.run_id, "audit")}
    assert kept == {path.name for path in Path("audit").iterdir()}


def test_wandb_gets_shares_and_files_offline(found: Audit) -> None:
    wandb = pytest.importorskip("wandb")
    names: dict[str, Any] = {"found": found}
    exec(code_of("Weights & Biases"), names)
    folder = next(Path("wandb").glob("offline-run-*"))
    assert list(folder.glob("files/media/html/audit/report*.html"))
    assert set(names["artifact"].manifest.entries) == {path.name for path in Path("audit").iterdir()}
    wandb.teardown()  # writes the rest of the record
    assert b"audit/near_duplicates" in next(folder.glob("*.wandb")).read_bytes()


@pytest.mark.parametrize("limit", ["0.05", "0.0001"])
def test_dagster_checks_the_asset(limit: str, found: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    dagster = pytest.importorskip("dagster")
    (Path("photos") / "a").mkdir(parents=True)
    Image.new("L", (8, 8)).save("photos/a/0.png")
    monkeypatch.setattr("selfclean_hooks.audit", lambda dataset, progress: found)
    names: dict[str, Any] = {}
    exec(code_of("Dagster").replace("0.05", limit), names)
    done = dagster.materialize([names["photo_audit"], names["is_clean"]])
    assert done.success
    (metadata,) = [each.metadata for each in done.asset_materializations_for_node("photo_audit")]
    assert metadata["near_duplicates"].value == found.contamination["near_duplicates"] > 0.03
    (verdict,) = done.get_asset_check_evaluations()
    assert verdict.passed == (limit == "0.05")


def test_dvc_runs_the_stages(tmp_path: Path) -> None:
    """The stages of the page; embeddings stand for the folder of images, so that no encoder is trained."""
    pytest.importorskip("dvc")
    (tmp_path / "data").mkdir()
    vectors, labels = embeddings()
    np.savez(tmp_path / "data" / "train.npz", embeddings=vectors, labels=labels)
    stages = yaml_blocks(PAGE)[0].replace("data/train", "data/train.npz")
    (tmp_path / "dvc.yaml").write_text(stages)

    def dvc(*words: str) -> str:
        place = {"PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}", **VARIABLES}
        command = [sys.executable, "-m", "dvc", *words]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **place}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dvc("init", "--no-scm", "--quiet")
    dvc("repro", "--quiet")
    shown = json.loads(dvc("metrics", "show", "--json"))[""]["data"]["audit.json"]["data"]
    assert shown["near_duplicates"] == pytest.approx(2 / 60)
    assert set(shown) >= {"passed", "samples", "kept_fraction", "label_errors"}
    plots = json.loads(dvc("plots", "show", "--json"))
    assert "Given and predicted labels" in plots["data"]
    with np.load(tmp_path / "data" / "clean" / "train.npz") as clean:
        assert len(clean["embeddings"]) == round(60 * shown["kept_fraction"]) < 60


def test_stages_are_yaml_of_their_kind() -> None:
    stages = yaml.safe_load(yaml_blocks(PAGE)[0])["stages"]
    commands = {name: stage["cmd"].split()[:3] for name, stage in stages.items()}
    assert commands["audit"][:2] == ["selfclean-hooks", "audit"]
    assert commands["gate"] == ["selfclean-hooks", "gate", stages["audit"]["outs"][0].popitem()[0]]
