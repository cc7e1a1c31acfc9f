"""How fit a representation is: the figures, what random weights are, and when an audit warns."""

import copy
import json
import random
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfclean_hooks import Audit, audit, audit_embeddings
from selfclean_hooks.core.embeddings import Embeddings, QualityFigures, RepresentationQuality
from selfclean_hooks.data.views import cached_dataset
from selfclean_hooks.embedding import collector
from selfclean_hooks.embedding.cache import Cache
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import of_callable, of_module
from selfclean_hooks.embedding.encoders.features import tensors_of
from selfclean_hooks.embedding.encoders.random_weights import random_copy, random_state
from selfclean_hooks.embedding.quality import chosen, is_constant, rank_me, representation_quality, same_label
from selfclean_hooks.errors import BackboneError, DataWarning
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.html.page import render

N, CLASSES = 240, 3


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def clusters(n: int = N, dim: int = 12, spread: float = 0.3) -> tuple[Any, Any]:
    labels = np.arange(n) % CLASSES
    return noise(CLASSES, dim)[labels] + spread * noise(n, dim, seed=1), labels


class Signals(Dataset[Any]):
    """Labels show in a sum of one part of the values, which other parts drown; counts what is read."""

    def __init__(self, n: int = N, broken_later: bool = False) -> None:
        labels = np.arange(n) % CLASSES
        self.x = torch.from_numpy(noise(n, 16) * 3)
        self.x[:, :CLASSES] = torch.eye(CLASSES)[labels] + 0.1 * torch.from_numpy(noise(n, CLASSES, seed=1))
        self.labels, self.read, self.broken_later = labels.tolist(), 0, broken_later

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        if self.broken_later and self.read > len(self) + 40:  # 40: looks at the first items before the reading
            raise OSError("gone")
        return self.x[index], self.labels[index]


class Net(nn.Module):
    """Keeps some of the values: the first tell the label, the others drown them."""

    def __init__(self, keep: slice = slice(0, CLASSES)) -> None:
        super().__init__()
        self.body, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)
        with torch.no_grad():
            self.body.weight.zero_()[keep, keep] = torch.eye(16)[keep, keep]
            self.body.bias.zero_()
        self.norm.running_mean.add_(0.01)  # type: ignore[union-attr]
        self.batches: list[int] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.batches.append(len(batch))
        features: Tensor = self.norm(self.body(batch))
        return features


def embedded(dataset: Any, backbone: Any, **settings: Any) -> Embeddings:
    return embed(dataset, backbone, progress=False, **settings)


def figures(found: Embeddings | Audit) -> RepresentationQuality:
    assert found.fitness is not None
    return found.fitness


def made(own: QualityFigures, other: QualityFigures | None, **changes: Any) -> RepresentationQuality:
    return replace(RepresentationQuality(400, 100, own, other, chance=0.1, gain_error=0.01), **changes)


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10, 500])
def test_agreement_is_that_of_a_loop(k: int) -> None:
    vectors, labels = clusters(60, spread=1.0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i, share in enumerate(same_label(vectors, labels, k)):
        nearest = sorted((j for j in range(60) if j != i), key=lambda j: -float(unit[i] @ unit[j]))[:k]
        assert share == pytest.approx(np.mean([labels[j] == labels[i] for j in nearest]))


def test_ranks_are_shares_of_the_possible() -> None:
    flat = noise(300, 3) @ noise(3, 40, seed=1)
    found = representation_quality(flat + 100, None)
    assert found is not None
    assert (found.samples, found.dimensions) == (300, 40)
    assert found.own.rank == pytest.approx(rank_me(flat + 100) / 40)
    assert found.own.centred_rank == pytest.approx(rank_me(flat - flat.mean(0)) / 40, rel=1e-3)
    assert found.own.rank * 40 < 1.5 < found.own.centred_rank * 40 < 3.2
    assert found.random is None
    assert found.own.agreement is found.chance is found.gain_error is None


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("shape", [(5000, 6), (6, 50)])
def test_rank_does_not_depend_on_scale(scale: float, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(1, 1, shape)
    for centred in (False, True):
        sigma = np.linalg.svd(x - x.mean(0) * centred, compute_uv=False)
        p = sigma / sigma.sum() + 1e-7
        assert rank_me(x * scale, centred=centred) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_what_is_constant_up_to_rounding_has_no_centred_rank() -> None:
    rounded = (1 + 1e-7 * noise(60, 8)).astype(np.float32)
    assert is_constant(rounded)
    assert rank_me(rounded, centred=True) == 0
    assert rank_me(rounded) == pytest.approx(1, abs=1e-3)
    assert not is_constant((1 + 1e-4 * noise(60, 8)).astype(np.float32))
    assert is_constant(np.zeros((9, 2)))
    assert rank_me(np.zeros((9, 2))) == 0


def test_agreement_is_compared_by_sample() -> None:
    (vectors, labels), other = clusters(), noise(N, 5, seed=2)
    found = representation_quality(vectors, labels, other)
    assert found is not None
    assert found.random is not None
    gain = same_label(vectors, labels) - same_label(other, labels)
    assert found.gain_error == pytest.approx(gain.std(ddof=1) / N**0.5)
    assert found.own.agreement == pytest.approx(same_label(vectors, labels).mean())
    assert found.random.agreement == pytest.approx(same_label(other, labels).mean())
    assert found.chance == pytest.approx((N / CLASSES - 1) / (N - 1))
    assert same_label(noise(2000, 8), np.arange(2000) % CLASSES).mean() == pytest.approx(1 / CLASSES, abs=0.02)


def test_few_samples_and_one_class_tell_nothing() -> None:
    assert representation_quality(noise(49, 5), None) is None
    alone = representation_quality(noise(50, 5), np.zeros(50, np.int64))
    assert alone is not None
    assert alone.own.agreement is alone.chance is None


def test_chosen_are_distinct_contents_and_stay_when_data_are_added() -> None:
    digests = [f"{value:032x}" for value in np.random.default_rng(0).integers(0, 2**62, 300)]
    doubled = [*digests[:100], "", *digests[:100], *digests[100:]]
    at = chosen(doubled, 90)
    assert at.tolist() == sorted(at.tolist())
    assert {doubled[i] for i in at} == set(sorted(digests)[:90])
    before = {digests[i] for i in chosen(digests[:270], 90)}
    assert len(before & {digests[i] for i in chosen(digests, 90)}) >= 75


# --- random weights --------------------------------------------------------------------------------------------------


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.words = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Embedding(50, 40)
        self.up, self.layer_norm = nn.ConvTranspose2d(8, 4, 3), nn.LayerNorm(4)
        self.token, self.temperature = nn.Parameter(torch.ones(1, 1, 500)), nn.Parameter(torch.tensor([7.0]))
        self.own_bias = nn.Parameter(torch.ones(3))
        self.head, self.tied = nn.Linear(40, 50), nn.Linear(40, 50, bias=False)
        self.tied.weight = self.head.weight
        self.register_buffer("mask", torch.full((3,), 5.0))
        self.register_buffer("lost", torch.ones(2), persistent=False)
        with torch.no_grad():
            for value in self.state_dict().values():
                value.fill_(9)


def test_random_weights_are_those_that_a_module_starts_with() -> None:
    state = random_state(Parts())
    assert set(state) == {
        *("conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
        *("words.weight", "up.weight", "up.bias", "layer_norm.weight", "layer_norm.bias", "token", "own_bias"),
        *("head.weight", "head.bias"),
    }
    for name, fan_in in (("conv", 27), ("up", 36), ("head", 40)):
        bound = fan_in**-0.5
        assert 0.8 * bound < state[f"{name}.weight"].abs().max() <= bound
        assert state[f"{name}.bias"].abs().max() <= bound
        assert state[f"{name}.weight"].std() == pytest.approx(bound / 3**0.5, rel=0.2)
    for name, value in {"norm.weight": 1, "norm.bias": 0, "norm.running_mean": 0, "norm.running_var": 1}.items():
        assert bool((state[name] == value).all())
    assert bool((state["layer_norm.weight"] == 1).all())
    assert bool((state["own_bias"] == 0).all())
    assert state["words.weight"].std() == pytest.approx(1, rel=0.1)
    assert state["token"].std() == pytest.approx(0.02, rel=0.2)


def test_random_weights_are_as_torch_draws_them() -> None:
    for layer in (nn.Linear(30, 900), nn.Conv2d(20, 900, 3, groups=2), nn.ConvTranspose1d(40, 900, 5)):
        for name, value in random_state(layer).items():
            assert value.std() == pytest.approx(layer.state_dict()[name].std().item(), rel=0.1)
            assert value.abs().max() == pytest.approx(layer.state_dict()[name].abs().max().item(), rel=0.1)


def test_random_weights_are_the_same_each_time_in_the_modules_dtype_and_not_shared() -> None:
    module, before = Parts().half(), torch.get_rng_state()
    one, other = random_state(module), random_state(module)
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == torch.float16 for name in one)
    assert torch.equal(before, torch.get_rng_state())
    with torch.device("meta"):
        assert torch.equal(random_state(module)["head.weight"], one["head.weight"])
    assert all(bool((value == 9).all()) for value in module.state_dict().values())
    assert not torch.equal(one["head.weight"], random_state(module, seed=1)["head.weight"])


def test_while_ready_the_module_has_them_and_afterwards_its_own() -> None:
    net = Net().train()
    before, copied = copy.deepcopy(net.state_dict()), random_copy(of_module(net))
    assert copied is not None
    with copied.ready():
        assert torch.equal(net.body.weight, random_state(net)["body.weight"])
        assert not net.training
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in tensors_of(net).items())


def test_what_has_no_weights_has_no_random_copy() -> None:
    assert random_copy(of_callable(torch.flatten)) is None
    assert random_copy(of_module(nn.Flatten())) is None


# --- in an audit -----------------------------------------------------------------------------------------------------


def test_both_representations_are_measured_on_the_same_samples() -> None:
    data, net = Signals(), Net()
    found = figures(embedded(data, net))
    at = chosen(embedded(data, net).digests, 200)
    labels = np.array(data.labels)[at]
    with torch.no_grad():
        own = net.eval()(data.x).numpy()[at]
        net.load_state_dict({**net.state_dict(), **random_state(net)})
        other = net(data.x).numpy()[at]
    expected = representation_quality(own, labels, other)
    assert expected is not None
    assert found.samples == 200
    assert found.random is not None
    assert expected.random is not None
    for mine, its in ((found.own, expected.own), (found.random, expected.random)):
        assert vars(mine) == pytest.approx(vars(its), rel=2e-3)
    assert found.warnings() == ()


def test_nothing_is_left_changed() -> None:
    data, net = Signals(), Net().train()
    before, rngs = copy.deepcopy(net.state_dict()), (random.getstate(), torch.get_rng_state())
    found = figures(embedded(data, net))
    assert found.random is not None
    assert net.training
    assert net.body.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert random.getstate() == rngs[0]
    assert torch.equal(torch.get_rng_state(), rngs[1])


@pytest.mark.parametrize(("n", "compared"), [(49, 0), (60, 60), (240, 200), (3000, 250), (13000, 1000)])
def test_a_twelfth_is_read_again(n: int, compared: int) -> None:
    net = Net()
    found = embedded(Signals(n), net, batch_size=500)
    assert sum(net.batches) == n + compared
    assert (found.fitness.samples if found.fitness else 0) == compared


def test_a_second_run_with_a_cache_reads_and_runs_nothing_more(tmp_path: Path) -> None:
    first, net = figures(embedded(Signals(), Net(), cache_dir=tmp_path)), Net()
    plain, data = Signals(), Signals()
    embedded(plain, of_callable(lambda batch: batch))
    second = figures(embedded(data, net, cache_dir=tmp_path))
    assert second == first
    assert net.batches == []
    assert data.read == plain.read
    copied = random_copy(of_module(Net()))
    assert copied is not None
    assert len(Cache(tmp_path, copied.fingerprint).known) == 200
    other = Net()
    with torch.no_grad():
        other.body.weight.mul_(2)
    embedded(Signals(), other, cache_dir=tmp_path)
    assert sum(other.batches) == N + 200  # other weights are another encoder


def test_functions_and_vectors_stand_beside_chance_alone() -> None:
    data = Signals()
    function = figures(embedded(data, lambda batch: batch))
    given = figures(audit_embeddings(data.x.numpy(), data.labels))
    for found in (function, given):
        assert (found.samples, found.random, found.gain_error) == (N, None, None)
        assert found.own.agreement is not None
        assert found.warnings() == ()
    assert function.own.agreement == pytest.approx(given.own.agreement or 0, abs=1e-6)


def test_what_cannot_be_compared_does_not_stop_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asserting(Net):
        def forward(self, batch: Tensor) -> Tensor:
            if not bool((self.norm.running_mean != 0).all()):  # type: ignore[union-attr]
                raise RuntimeError("not trained")
            return super().forward(batch)

    found = embedded(Signals(), Asserting())
    assert figures(found).random is None
    assert "could not be compared with that of random weights: the backbone" in found.notes[-1]
    assert figures(embedded(Signals(broken_later=True), Net())).random is not None  # nothing was read again
    monkeypatch.setattr(collector, "MAX_BYTES", 0)
    monkeypatch.setattr(cached_dataset, "MAX_BYTES", 0)
    gone = embedded(Signals(broken_later=True), Net())
    assert figures(gone).random is None
    assert "could be read once and not again: OSError: gone" in gone.notes[-1]


def test_constant_features_are_the_encoders_fault_and_identical_samples_are_not() -> None:
    dead = Net(keep=slice(0, 0))
    with pytest.raises(BackboneError, match=r"all 240, though 240 of them differ in content.*dead or collapsed. Load"):
        embedded(Signals(), dead)

    class Same(Signals):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return self.x[0], self.labels[index]

    assert audit(Same(), Net(), progress=False).frame["is_near_duplicate_issue"].all()
    with pytest.raises(BackboneError, match="gave NaN or infinity"):
        embedded(Signals(), lambda batch: batch / 0)


# --- doubts ----------------------------------------------------------------------------------------------------------


def test_features_that_say_less_of_the_labels_than_random_ones_are_doubted() -> None:
    drowned = Net(keep=slice(CLASSES, 16))
    with pytest.warns(DataWarning, match="separates labels no better than random weights: 3.*Its label"):
        found = audit(Signals(), drowned, progress=False)
    assert any("separates labels no better" in note for note in found.provenance["notes"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the representation")
        fine = audit(Signals(), Net(), progress=False)
    assert not any("representation" in note for note in fine.provenance["notes"])


FINE = QualityFigures(0.2, 0.4, 0.5)


@pytest.mark.parametrize(
    ("own", "other", "doubt"),
    [
        (FINE, FINE, "labels no better"),  # the very same
        (QualityFigures(0.2, 0.4, 0.509), FINE, "labels no better"),  # within the standard error
        (QualityFigures(0.2, 0.4, 0.511), FINE, ""),
        (QualityFigures(0.2, 0.4, 0.30), FINE, "labels no better"),
        (QualityFigures(0.2, 0.4, 0.56), QualityFigures(0.2, 0.4, 0.60), ""),  # more than half way from chance to 1
        (QualityFigures(0.2, 0.4, None), QualityFigures(0.2, 0.4, None), ""),
        (QualityFigures(0.2, 0.12, 0.7), FINE, ""),  # training lowers ranks
        (
            QualityFigures(0.2, 0.04, 0.7),
            FINE,
            r"RankMe of its centred features is 4.00 of 100, 40.00 with random weights",
        ),
        (QualityFigures(0.0101, 0.4, 0.7), FINE, r"RankMe of its features is 1.01 of 100, 20.00 with random"),
        (QualityFigures(0.013, 0.4, 0.7), FINE, ""),  # a large mean, and much beside it
        (QualityFigures(0.0101, 0.4, 0.7), QualityFigures(0.0105, 0.4, 0.5), ""),  # that is how this network is
        (QualityFigures(0.01, 0.01, 0.1), None, ""),
    ],
)
def test_doubts(own: QualityFigures, other: QualityFigures | None, doubt: str) -> None:
    found = made(own, other).warnings()
    assert len(found) == bool(doubt)
    for text in found:
        assert re.search(doubt, text)


def test_what_measured_encoders_gave() -> None:
    """Of 1,000 contaminated Fashion-MNIST samples: (rank, centred rank, agreement) beside random weights."""
    random_small, random_large = QualityFigures(0.096, 0.448, 0.530), QualityFigures(0.078, 0.283, 0.535)
    healthy = {
        "pretrained on photographs": (QualityFigures(0.505, 0.555, 0.602), random_large, 0.008),
        "supervised, one epoch": (QualityFigures(0.072, 0.131, 0.558), random_small, 0.007),
        "supervised, two classes, 30 epochs": (QualityFigures(0.265, 0.550, 1.0), random_small, 0.008),
        "self-supervised beside pixels": (
            QualityFigures(0.330, 0.414, 0.601),
            QualityFigures(0.324, 0.438, 0.598),
            0.005,
        ),
        "lagging batch statistics": (QualityFigures(0.122, 0.417, 0.636), random_small, 0.006),
    }
    sick = {
        "views pulled together and nothing apart": (QualityFigures(0.062, 0.113, 0.440), random_small, 0.007),
        "trained on random labels": (QualityFigures(0.199, 0.386, 0.512), random_small, 0.005),
        "another draw of random weights": (QualityFigures(0.081, 0.467, 0.514), random_large, 0.005),
        "two dimensions left": (QualityFigures(0.014, 0.016, 0.270), random_small, 0.011),
        "constant but for noise": (QualityFigures(0.0078, 0.433, 0.712), random_small, 0.008),
    }
    for expected, cases in ((False, healthy), (True, sick)):
        for name, (own, other, error) in cases.items():
            found = RepresentationQuality(1000, 128, own, other, 0.1, error).warnings()
            assert bool(found) == expected, name


@pytest.mark.parametrize(
    ("before", "now", "in_doubt"),
    [(0.5, 0.31, False), (0.5, 0.29, True), (0.12, 0.2, False), (None, 0.2, False), (0.5, None, False)],
)
def test_a_later_audit_must_show_labels_half_as_well(before: float | None, now: float | None, in_doubt: bool) -> None:
    def quality(agreement: float | None) -> RepresentationQuality:
        return made(QualityFigures(0.3, 0.4, agreement), None)

    doubts = quality(now).doubts(quality(before))
    assert bool(doubts) == in_doubt
    assert quality(now).doubts(None) == ()


# --- kept and shown --------------------------------------------------------------------------------------------------


def test_it_is_saved_loaded_and_shown(tmp_path: Path) -> None:
    found = audit(Signals(), Net(), progress=False)
    found.save(tmp_path)
    loaded = Audit.load(tmp_path)
    assert figures(loaded) == figures(found)
    assert json.loads((tmp_path / "manifest.json").read_text())["fitness"]["samples"] == 200
    assert json.loads(as_json(loaded))["fitness"] == figures(found).as_dict()
    page = render(loaded)
    assert "random weights</th>" in page
    assert f"{figures(found).own.agreement:.2%}" in page
    assert figures(found).describe().startswith("representation quality (200 samples): k-NN label agreement ")
    assert figures(found).describe().endswith("%)")


@pytest.mark.parametrize("reported", [None, 3, {}, {"own": {}}, {"own": {"rank": 1}, "random": None}])
def test_what_older_or_odd_manifests_hold_is_no_fitness(reported: Any) -> None:
    vectors, labels = clusters()
    found = audit_embeddings(vectors, labels)
    odd = replace(found, provenance={**found.provenance, "fitness": reported})
    assert odd.fitness is None
    assert "random weights</th>" not in render(odd)
    without = replace(found, provenance={key: value for key, value in found.provenance.items() if key != "fitness"})
    assert without.fitness is None
    assert json.loads(as_json(without))["fitness"] is None


def test_the_command_line_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from selfclean_hooks.cli.main import main

    vectors, labels = clusters()
    np.savez(tmp_path / "data.npz", embeddings=vectors, labels=labels)
    arguments = ["audit", str(tmp_path / "data.npz"), "-o", str(tmp_path / "out"), "--no-progress", "-v"]
    assert main(arguments) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("representation")]
    assert shown == [figures(Audit.load(tmp_path / "out")).describe()]
    assert "(chance " in shown[0]
