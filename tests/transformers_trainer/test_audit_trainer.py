"""`audit_trainer` with real Trainers."""

import warnings
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from selfclean_hooks import Audit, Limits, Policy
from selfclean_hooks.errors import ContaminationError, DataError, DataWarning, PolicyError, SettingError
from selfclean_hooks_transformers import audit_trainer
from tests.transformers_trainer.trainers import (
    CHOICES,
    DROP,
    SIZES,
    as_dataset,
    contaminated,
    image_trainer,
    transformers,
    vit,
    weights,
)

pytestmark = pytest.mark.usefixtures("features_alone")


def made(found: Audit | None) -> Audit:
    assert found is not None
    return found


def test_flagged_samples_never_reach_a_step(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path)
    given = trainer.train_dataset
    kept = made(audit_trainer(trainer, DROP, **CHOICES)).clean_indices.tolist()
    trainer.train()
    assert 0 < len(kept) < len(given)
    assert sorted(trainer.data_collator.seen) == kept
    assert isinstance(trainer.train_dataset, huggingface.Dataset)
    assert trainer.train_dataset.format == given.format


def test_nothing_dropped_nothing_changed(tmp_path: Path) -> None:
    trained = []
    for audits in (False, True):
        trainer = image_trainer(tmp_path)
        given, before = trainer.train_dataset, torch.get_rng_state()
        if audits:
            made(audit_trainer(trainer, Policy(), **CHOICES))
        assert trainer.train_dataset is given
        assert torch.equal(torch.get_rng_state(), before)
        trainer.train()
        trained.append(weights(trainer))
    assert all(map(torch.equal, *trained))


def test_any_map_style_data_set_loses_what_is_dropped(tmp_path: Path) -> None:
    images, labels = contaminated()
    x = torch.from_numpy(images).float()[:, None] / 127.5 - 1
    trainer = image_trainer(tmp_path, TensorDataset(x, torch.from_numpy(labels)))
    found = made(audit_trainer(trainer, DROP, **CHOICES))
    assert len(trainer.train_dataset) == len(found.clean_indices) < len(images)


def test_new_labels_are_trained_on(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path, as_dataset(*contaminated(200)))
    given = trainer.train_dataset.with_format(None)
    found = made(audit_trainer(trainer, Policy(label_errors="relabel"), **CHOICES))
    served = trainer.train_dataset
    assert served.features == given.features
    labels = list(given["label"])
    for index, label in found.new_labels.items():
        labels[index] = int(label)
    assert found.new_labels
    kept = found.clean_indices.tolist()
    assert [int(label) for label in served[:]["labels"]] == [labels[index] for index in kept]


def test_leakage_is_looked_for_in_the_evaluation_data(tmp_path: Path) -> None:
    images, labels = contaminated()
    val, test = as_dataset(images[5:10], labels[5:10]), as_dataset(images[20:24], labels[20:24])
    trainer = image_trainer(tmp_path, eval_dataset={"val": val, "test": test})
    found = made(audit_trainer(trainer, Policy(leakage="drop"), **CHOICES))
    assert set(found.leakage["split_2"]) == {"eval/val", "eval/test"}
    assert not set(found.clean_indices) & {5, 6, 7, 8, 9, 20, 21, 22, 23}
    alone = image_trainer(tmp_path, eval_dataset=val)
    assert set(made(audit_trainer(alone, **CHOICES)).leakage["split_2"]) == {"eval"}
    assert audit_trainer(alone, check_leakage=False, **CHOICES).leakage.empty  # type: ignore[union-attr]


def test_a_limit_stops_before_training(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path)
    given = trainer.train_dataset
    with pytest.raises(ContaminationError, match="training is stopped: label_errors"):
        audit_trainer(trainer, limits=Limits(label_errors=0.01), **CHOICES)
    assert trainer.train_dataset is given


def test_the_report_is_written_and_figures_logged(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path)
    audit_trainer(trainer, DROP, **{**CHOICES, "output_dir": tmp_path / "audit"})
    assert (tmp_path / "audit" / "report.html").stat().st_size > 0
    trainer.train()
    logged = {key: value for entry in trainer.state.log_history for key, value in entry.items()}
    assert 0 < logged["audit/label_errors"] < 1
    assert logged["audit/kept_fraction"] == len(trainer.train_dataset) / len(contaminated()[0])


def test_the_model_gives_the_features_once_it_is_pretrained(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path)
    with torch.no_grad():
        for layer in (trainer.model.vit.layernorm, *(m for m in trainer.model.modules() if "Norm" in type(m).__name__)):
            layer.weight += torch.rand(layer.weight.shape)
    trainer.processing_class = transformers.ViTImageProcessor(
        do_resize=False, do_normalize=False, image_mean=[0.5], image_std=[0.5]
    )
    found = made(audit_trainer(trainer, output_dir=None))
    notes = found.provenance["notes"]
    assert any(note.startswith("features of ViTForImageClassification, trained before") for note in notes)
    assert not any("image processor is not known" in note for note in notes)
    trainer.processing_class = None
    again = made(audit_trainer(trainer, output_dir=None))
    assert any("image processor is not known" in note for note in again.provenance["notes"])


def test_texts_are_audited_by_their_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, 60, rng.integers(3, 9)).tolist() for _ in range(40)]
    rows[30], rows[31] = rows[2], rows[5]
    data = huggingface.Dataset.from_dict({"input_ids": rows, "label": [i % 2 for i in range(40)]})
    torch.manual_seed(0)
    sizes = {**SIZES, "num_labels": 2, "vocab_size": 60, "pad_token_id": 0}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))
    with torch.no_grad():
        model.bert.embeddings.LayerNorm.weight += torch.rand(16)
    words = tmp_path / "vocab.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(56))]), "utf-8")
    args = transformers.TrainingArguments(
        str(tmp_path), use_cpu=True, max_steps=2, disable_tqdm=True, save_strategy="no", report_to=[]
    )
    tokenizer = transformers.BertTokenizerFast(str(words))
    trainer = transformers.Trainer(model, args, train_dataset=data, processing_class=tokenizer)
    found = made(audit_trainer(trainer, Policy(near_duplicates="drop"), output_dir=None))
    assert {2, 5} == set(range(40)) - set(found.clean_indices) or len(found.clean_indices) == 38
    assert [rows[i] for i in found.clean_indices] == list(trainer.train_dataset["input_ids"])
    trainer.train()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a run that dropped samples."""
    trainer = image_trainer(tmp_path, save_strategy="epoch")
    audit_trainer(trainer, DROP, **CHOICES)
    trainer.train()
    (folder,) = tmp_path.glob("checkpoint-*")
    return folder


def test_a_resumed_run_drops_the_same_without_an_audit(checkpoint: Path, audits: list[int], recwarn: Any) -> None:
    for given in (checkpoint, str(checkpoint), True):
        trainer = image_trainer(checkpoint.parent, num_train_epochs=2)
        assert audit_trainer(trainer, DROP, **CHOICES, resume_from_checkpoint=given) is None
    assert audits == []
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert len(set(trainer.data_collator.seen)) == len(trainer.train_dataset) < len(contaminated()[0])
    assert not [each for each in recwarn if "other samples" in str(each.message)]


def test_a_resumed_run_on_other_data_is_audited_anew(checkpoint: Path, audits: list[int]) -> None:
    images, labels = contaminated()
    trainer = image_trainer(checkpoint.parent, as_dataset(images[3:], labels[3:]))
    with pytest.warns(DataWarning, match="the data changed since the last audit"):
        made(audit_trainer(trainer, DROP, **CHOICES, resume_from_checkpoint=checkpoint))
    assert audits == [0]


def test_what_was_dropped_otherwise_before_is_a_warning(checkpoint: Path) -> None:
    trainer = image_trainer(checkpoint.parent, num_train_epochs=2)
    audit_trainer(trainer, Policy(), **CHOICES)
    with pytest.warns(DataWarning, match="trained on other samples"):
        trainer.train(resume_from_checkpoint=str(checkpoint))


def test_a_checkpoint_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"trainer_state.json must be the state of a run to resume, got FileNotFound"):
        audit_trainer(image_trainer(tmp_path), DROP, **CHOICES, resume_from_checkpoint=tmp_path)


def broken(batch: Any) -> Any:
    raise RuntimeError("no features today")


def test_an_audit_that_fails_costs_no_training_that_needs_none(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path)
    with pytest.warns(DataWarning, match="no features today"):
        assert audit_trainer(trainer, backbone=broken, output_dir=None) is None
    assert len(trainer.train_dataset) == len(contaminated()[0])
    trainer.train()
    with pytest.raises(Exception, match="no features today"):
        audit_trainer(trainer, DROP, backbone=broken, output_dir=None)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from as_dataset(*contaminated())


def test_a_stream_is_refused_where_something_is_to_be_dropped(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path, Stream(), max_steps=1)
    with pytest.raises((SettingError, DataError), match=r"IterableDataset|map-style"):
        audit_trainer(trainer, DROP, **CHOICES)
    with pytest.warns(DataWarning, match="is not audited"):
        assert audit_trainer(trainer, **CHOICES) is None


def test_a_loader_of_other_data_is_noticed(tmp_path: Path) -> None:
    trainer = image_trainer(tmp_path)
    given = trainer.train_dataset
    audit_trainer(trainer, DROP, **CHOICES)
    trainer.train_dataset = given
    with pytest.raises(PolicyError, match="the trainer's loader has"):
        trainer.train()


def test_without_data_there_is_a_sentence(tmp_path: Path) -> None:
    args = transformers.TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(SettingError, match="the trainer must have data to audit"):
        audit_trainer(transformers.Trainer(vit(), args))


def test_audits_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audits: list[int]) -> None:
    monkeypatch.setenv("SELFCLEAN_HOOKS_ENABLED", "0")
    trainer = image_trainer(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert audit_trainer(trainer, DROP, **CHOICES) is None
    assert audits == []
    assert len(trainer.train_dataset) == len(contaminated()[0])
