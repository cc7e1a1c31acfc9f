"""Two processes of one training, as torchrun and `accelerate launch` start them: one decision for both."""

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState  # type: ignore[import-untyped]

from selfclean_hooks_transformers import audit_trainer
from tests.helpers.forked import free_port
from tests.transformers_trainer.trainers import CHOICES, DROP, as_dataset, contaminated, image_trainer, weights

SOME = replace(CHOICES["thresholds"], near_duplicates=0.35)
PATIENCE = 200  # seconds; a hang must fail and not last


def train(rank: int, port: int, folder: Path) -> None:
    """What this process drops and trains on, in a file."""
    torch.set_num_threads(1)  # threads do not outlive a fork
    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="localhost")
    val = as_dataset(*(values[5:10] for values in contaminated()))
    trainer = image_trainer(folder / "run", eval_dataset=val, ddp_backend="gloo", save_strategy="epoch")
    found = audit_trainer(trainer, DROP, **{**CHOICES, "thresholds": SOME, "output_dir": folder / "audit"})
    trainer.train()
    report: dict[str, Any] = {
        "made": found is not None,
        "left": len(trainer.train_dataset),
        "seen": trainer.data_collator.seen,
        "weights": [float(value.double().sum()) for value in weights(trainer)],
    }
    (folder / f"{rank}.json").write_text(json.dumps(report))
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("features_alone")
def test_both_drop_the_same_and_share_the_rest(tmp_path: Path) -> None:
    context, port = multiprocessing.get_context("fork"), free_port()
    both = [context.Process(target=train, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
        process.kill()
    assert [process.exitcode for process in both] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    dropped = json.loads(next(tmp_path.glob("run/checkpoint-*/trainer_state.json")).read_text())
    state = dropped["stateful_callbacks"]["DataAudit"]["attributes"]["loaders"][""]
    assert first["left"] == second["left"] == state["n"] - len(state["dropped"]) < state["n"]
    assert not set(state["dropped"]) & {*first["seen"], *second["seen"]}
    assert {*first["seen"], *second["seen"], *state["dropped"]} == set(range(state["n"]))
    assert first["weights"] == second["weights"]
    assert (tmp_path / "audit" / "leakage.csv").is_file()
