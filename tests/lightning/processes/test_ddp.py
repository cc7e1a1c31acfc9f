"""Two real processes: one decision, shares read apart, one writes, all fail as one. See ddp_script.py for the fits."""

from __future__ import annotations

import json
import math
import multiprocessing
import pickle
from collections import Counter
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from selfclean_hooks import Audit, audit
from selfclean_hooks.embedding.pretrain.run import load
from tests.helpers.forked import free_port
from tests.lightning.fits import DROP, LOOSE, Module, N, Net, audit_callback, train_data, trainer, val_data
from tests.lightning.margins.margin_fits import Logged, twin
from tests.lightning.processes import ddp_script
from tests.lightning.processes.ddp_parts import Memory, ShiftedBatchNorm

PATIENCE = 150  # seconds; a hang must fail and not last
BATCH = 16

pytestmark = pytest.mark.filterwarnings("ignore")


class Launch(NamedTuple):
    """What came of starting both."""

    status: list[int | None]
    folder: Path
    by_rank: list[dict[str, Any]]
    log: str

    def both(self, fit: str) -> list[dict[str, Any]]:
        return [seen[fit] for seen in self.by_rank]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    folder = tmp_path_factory.mktemp("ddp")
    (folder / "images").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    fork, port = multiprocessing.get_context("fork"), free_port()
    both = [fork.Process(target=ddp_script.main, args=(rank, port, folder)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
        process.kill()
    by_rank = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return Launch([process.exitcode for process in both], folder, by_rank, (folder / "log").read_text())


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return by_one_process()


def by_one_process() -> dict[str, Any]:
    """What the fit "drops" comes to."""
    callback = audit_callback(None, policy=DROP)
    logger = Memory()
    fit = trainer(callback, max_epochs=1, logger=logger)
    fit.fit(Net(), datamodule=Module(train_data(), val_data(leaking=5)))
    found = callback.audit
    return {
        "kept": found.clean_indices.tolist(),
        "dropped": np.setdiff1d(np.arange(len(found)), found.clean_indices).tolist(),
        "scores": found.frame.to_json(),
        "leakage": found.leakage.to_json(),
        "logged": logger.reported,
    }


def check_epoch(ranks: list[dict[str, Any]], epoch: int, kept: list[int]) -> None:
    """Every kept sample once on one of the two, none of the others; one more where the two would not be even."""
    drawn = [seen["trained_on"][str(epoch)] for seen in ranks]
    share = math.ceil(len(kept) / len(drawn))
    assert [len(positions) for positions in drawn] == [share] * len(drawn)
    times = Counter(position for positions in drawn for position in positions)
    assert sorted(times) == kept
    assert sum(times.values()) - len(kept) < len(drawn)


def test_every_fit_was_made(launched: Launch) -> None:
    assert launched.by_rank[0].keys() == launched.by_rank[1].keys(), launched.log
    assert launched.by_rank[0]["pid"] != launched.by_rank[1]["pid"]
    assert [seen["rank"] for seen in launched.both("drops")] == [0, 1]


def test_two_processes_drop_what_one_drops(launched: Launch, alone: dict[str, Any]) -> None:
    assert alone["dropped"]
    for seen in launched.both("drops"):
        assert seen["error"] is None
        assert seen["dropped"] == {"": alone["dropped"]}
        assert seen["scores"] == {"": alone["scores"]}
        assert seen["leakage"] == {"": alone["leakage"]}


def test_each_process_reads_its_share(launched: Launch) -> None:
    n, held_out = len(train_data()), len(val_data(leaking=5))
    assert n != held_out
    for rank, seen in enumerate(launched.both("drops")):
        expected = [[size, index] for size in (n, held_out) for index in range(rank, size, 2)]
        assert seen["read"] == expected


def test_the_first_process_writes_and_logs_once(launched: Launch, alone: dict[str, Any]) -> None:
    first, second = launched.both("drops")
    assert first["saved"] == [str(launched.folder / "drops")]
    assert (second["saved"], second["logged"]) == ([], [])
    assert first["logged"] == alone["logged"]
    assert len(first["logged"]) == 1
    saved = Audit.load(launched.folder / "drops at first")
    assert saved.frame.to_json() == alone["scores"]
    assert np.loadtxt(launched.folder / "drops at first" / "clean_indices.txt", dtype=int).tolist() == alone["kept"]


def test_the_first_process_warns(launched: Launch) -> None:
    reported = f"Report: {launched.folder / 'drops' / 'report.html'}"
    assert launched.log.count(reported) == 2  # the two fits that write there


def test_no_dropped_sample_is_trained_on_and_every_other_once(launched: Launch, alone: dict[str, Any]) -> None:
    ranks = launched.both("drops")
    steps = math.ceil(math.ceil(len(alone["kept"]) / 2) / BATCH)
    for epoch in range(3):
        check_epoch(ranks, epoch, alone["kept"])
    for seen in ranks:
        assert seen["steps"] == seen["total_steps"] == 3 * steps
        assert seen["validated"] == [0, 1, 2]
        assert seen["calls"] == ["train", "val"]
        assert seen["undone"]
    assert ranks[0]["weights"] != launched.both("and again")[0]["weights"]


def test_the_same_fit_again_in_the_same_processes(launched: Launch, alone: dict[str, Any]) -> None:
    for seen in launched.both("and again"):
        assert (seen["error"], seen["dropped"]) == (None, {"": alone["dropped"]})


@pytest.mark.parametrize("fit", ["passed loaders", "own sampler"])
def test_other_ways_to_pass_data(launched: Launch, fit: str) -> None:
    ranks = launched.both(fit)
    n = len(train_data())
    assert [seen["error"] for seen in ranks] == [None, None]
    assert ranks[0]["dropped"] == ranks[1]["dropped"]
    assert len(ranks[0]["dropped"][""]) > 5
    check_epoch(ranks, 0, np.setdiff1d(np.arange(n), ranks[0]["dropped"][""]).tolist())


def test_of_a_weighted_sampler(launched: Launch) -> None:
    ranks = launched.both("weighted")
    drawn = {p for seen in ranks for epoch in seen["trained_on"].values() for p in epoch}
    dropped = {position + 10 for position in ranks[0]["dropped"][""]}  # of those with a chance, from the tenth on
    assert [seen["error"] for seen in ranks] == [None, None]
    assert ranks[0]["dropped"] == ranks[1]["dropped"] != {"": []}
    assert drawn <= set(range(10, len(train_data(60)))) - dropped
    assert len(drawn) > 20


def test_audits_again_with_the_module_in_training(launched: Launch) -> None:
    ranks, n = launched.both("module in training"), len(train_data(100))
    audits = [Audit.load(launched.folder / "again" / f"epoch={epoch}") for epoch in (0, 1)]
    kept = [found.clean_indices.tolist() for found in audits]
    assert [seen["error"] for seen in ranks] == [None, None]
    assert kept[0] != kept[1]
    for epoch, of in ((0, 0), (1, 1), (2, 1)):
        check_epoch(ranks, epoch, kept[of])
    for seen in ranks:
        assert seen["dropped"] == {"": np.setdiff1d(np.arange(n), kept[1]).tolist()}
        assert seen["encoder"][""]["name"] == "ShiftedBatchNorm"
        assert seen["calls"] == ["train"]
        share = [[n, index] for index in range(seen["rank"], n, 2)]
        again = n if seen["rank"] == 0 else 0  # by the first process, for the comparison with random weights
        part = len(share) + again
        assert len(seen["read"]) == 2 * part
        assert [seen["read"][at : at + len(share)] for at in (0, part)] == [share, share]
    assert [len(seen["logged"]) for seen in ranks] == [2, 0]


def test_one_set_of_weights_embeds_all_shares(launched: Launch) -> None:
    """Without validation each process leaves an epoch with batch statistics of its own."""
    states = [torch.load(launched.folder / "snapshots" / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert not torch.equal(states[0]["encoder.2.running_mean"], states[1]["encoder.2.running_mean"])
    for seen in launched.both("module in training"):
        assert seen["before"] == seen["after"]
    model = ShiftedBatchNorm()
    model.load_state_dict(states[0])
    expected = audit(train_data(100), model, thresholds=LOOSE, policy=DROP, progress=False).frame
    found = Audit.load(launched.folder / "again" / "epoch=1").frame
    for issue in ("near_duplicate", "off_topic"):  # labels are judged by what the training shows, too
        assert np.allclose(found[f"{issue}_score"], expected[f"{issue}_score"], atol=1e-5)
        assert found[f"is_{issue}_issue"].tolist() == expected[f"is_{issue}_issue"].tolist()


def test_a_resumed_run_drops_the_same_without_an_audit(launched: Launch) -> None:
    before, ranks = launched.both("saved for later"), launched.both("resumed")
    kept = np.setdiff1d(np.arange(len(train_data())), before[0]["dropped"][""]).tolist()
    check_epoch(before, 0, kept)
    check_epoch(ranks, 1, kept)
    for seen in ranks:
        assert (seen["error"], seen["read"], seen["scores"]) == (None, [], {})
        assert seen["dropped"] == before[0]["dropped"]


def test_a_checkpoint_is_what_the_module_has_learned(launched: Launch) -> None:
    first, second = launched.both("checkpoint as backbone")
    assert first["error"] is None
    assert first["encoder"] == second["encoder"]
    assert first["encoder"][""]["name"] == "Net"
    assert first["dropped"] == second["dropped"] != {"": []}
    assert "features of Net, after 1 epoch of training" in first["notes"][""]
    check_epoch([first, second], 1, np.setdiff1d(np.arange(len(train_data())), first["dropped"][""]).tolist())


def test_nothing_dropped_leaves_the_training_as_it_is(launched: Launch) -> None:
    audited, plain = launched.both("with the audit"), launched.both("without the audit")
    for one, other in zip(audited, plain, strict=True):
        assert one["dropped"] == {"": []}
        assert len(one["read"]) > len(train_data())
        for what in ("weights", "trained_on", "validated", "steps", "total_steps", "next_random"):
            assert one[what] == other[what]


def test_a_self_supervised_encoder_is_trained_once(launched: Launch) -> None:
    first, second = launched.both("self-supervised")
    assert (first["error"], second["error"]) == (None, None)
    assert (first["trained"], second["trained"]) == (1, 0)
    assert first["given"] == second["given"]
    assert len(set(first["given"])) == 1
    assert "self-supervised, simclr, 1 epochs" in first["encoder"][""]["name"]


def test_margins_of_two_processes_are_added_up(launched: Launch) -> None:
    first, second = launched.both("margins")
    assert second["blended"] == []
    ((margins, epochs),) = first["blended"]
    assert epochs == 2
    both = Logged()
    both.reported = [*map(tuple, first["reported"]), *map(tuple, second["reported"])]
    np.testing.assert_allclose(np.array(margins, float), twin([both], N, 2), rtol=1e-5, atol=1e-6)
    assert first["label"] == second["label"]
    assert len({position for _, position, _ in second["reported"]}) > 20


def test_the_command_trains_one_encoder_on_several_devices(launched: Launch) -> None:
    first, second = launched.both("pretrained")
    assert (first["status"], second["status"]) == (0, 0), launched.log[-3000:]
    assert first["out"].count("use it with") == 1
    assert second["out"] == ""
    assert load(launched.folder / "encoder").epochs == 2


@pytest.mark.parametrize(
    ("fit", "kind", "words"),
    [
        ("limits", "ContaminationError", "training is stopped: near_duplicates: "),
        ("raise", "ContaminationError", "training is stopped: near_duplicates is not tolerated (policy 'raise'). "),
        ("too much to drop", "PolicyError", "the policy would drop "),
        ("backbone fails in one", "BackboneError", "ValueError: the device of this process is broken"),
        ("backbone fails in the first", "BackboneError", "OSError: the device of this process is broken"),
        ("view fails in one", "OSError", "the disk of this process is gone"),
        ("no folder", "AuditFileError", "audit: Not a directory. Give a folder that can be written"),
    ],
)
def test_all_processes_stop_before_the_first_step(launched: Launch, fit: str, kind: str, words: str) -> None:
    first, second = launched.both(fit)
    assert first["error"] == second["error"]
    assert first["error"][0] == kind
    assert words in first["error"][1]
    for seen in (first, second):
        assert (seen["trained_on"], seen["steps"], seen["undone"]) == ({}, 0, True)


@pytest.mark.parametrize("fit", ["goes on after one failed", "goes on without loggers"])
def test_where_nothing_depends_on_it_all_processes_go_on(launched: Launch, fit: str) -> None:
    drawn = [position for seen in launched.both(fit) for position in seen["trained_on"]["0"]]
    assert [seen["error"] for seen in launched.both(fit)] == [None, None]
    assert sorted(drawn) == list(range(len(train_data())))


def test_an_audit_beyond_the_limits_is_saved(launched: Launch) -> None:
    assert [len(seen["saved"]) for seen in launched.both("limits")] == [1, 0]
    assert len(Audit.load(launched.folder / "limits")) == len(train_data())


def test_data_that_differ_between_processes_are_refused(launched: Launch) -> None:
    for seen in launched.both("unseeded"):
        assert seen["error"] == [
            "DataError",
            "all processes of the training must hold the same data in the same order, and do not: seed what chooses "
            "it, as random_split(..., generator=torch.Generator().manual_seed(0))",
        ]
        assert seen["trained_on"] == {}


@pytest.mark.parametrize(("fit", "split"), [("other validation", "val"), ("test in one", "test")])
def test_held_out_data_that_differ_are_not_compared(launched: Launch, fit: str, split: str) -> None:
    """Training does not mind, so the run goes on, and says so."""
    for seen in launched.both(fit):
        assert seen["error"] is None
        assert any(note.startswith(f"{split} is not compared with the training data") for note in seen["notes"][""])
        assert f'"{split}"' not in seen["leakage"][""]
        assert len(seen["trained_on"]) == 2


def test_an_interrupt_of_one_process_ends_all(launched: Launch) -> None:
    """The launch would not be over if one were left."""
    assert launched.status == [1, 1], launched.log[-2000:]
    assert launched.by_rank[0]["interrupted"] == "SystemExit"  # what Lightning makes of a KeyboardInterrupt


class Report(lightning.Callback):
    """Writes what a spawned process has seen, as it ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        found = next(callback for callback in trainer.callbacks if hasattr(callback, "audits"))
        seen = {
            "trained_on": {str(epoch): positions for epoch, positions in pl_module.seen.items()},
            "dropped": found._state.data[""].corrections.dropped.tolist(),
            "scores": found.audit.frame.to_json(),
            "steps": trainer.global_step,
        }
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(seen))


def assert_nearly(frame: str, expected: str) -> None:
    """Frames in JSON are equal, their numbers nearly: threads of another number sum in another order."""
    one, other = pd.DataFrame(json.loads(frame)), pd.DataFrame(json.loads(expected))
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-5)


def test_ddp_spawn(tmp_path: Path, features_alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = by_one_process()
    start: Any = vars(torch.multiprocessing)["start_processes"]

    def quickly(work: Any, args: Any, **settings: Any) -> Any:
        """Handed on by pickle alone, as spawn does, but for the queue; and nothing is imported anew."""
        queues = [each if isinstance(each, SimpleQueue) else None for each in args]
        work, *handed = pickle.loads(pickle.dumps((work, *(each for each in args if each not in queues))))
        both = [queue or handed.pop(0) for queue in queues]
        return start(work, both, **{**settings, "start_method": "fork"})

    monkeypatch.setattr(torch.multiprocessing, "start_processes", quickly)
    callback = audit_callback(tmp_path / "audit", policy=DROP)
    model, data = Net(), Module(train_data(), val_data(leaking=5))
    run = trainer(callback, Report(tmp_path), strategy="ddp_spawn", devices=2, max_epochs=1)
    run.fit(model, datamodule=data)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for seen in ranks:
        assert seen["dropped"] == alone["dropped"]
        assert_nearly(seen["scores"], alone["scores"])
    check_epoch(ranks, 0, alone["kept"])
    assert (callback.audits, callback._state.data, callback._fit) == ({}, {}, None)
    with pytest.raises(AttributeError, match="there are 0 audits"):
        _ = callback.audit
    assert_nearly(Audit.load(tmp_path / "audit").frame.to_json(), alone["scores"])
    assert np.loadtxt(tmp_path / "audit" / "clean_indices.txt", dtype=int).tolist() == alone["kept"]
    assert data.calls == []
    assert not {"train_dataloader", "val_dataloader"} & vars(data).keys()
