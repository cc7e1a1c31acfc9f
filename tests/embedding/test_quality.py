"""How fit a representation is: the figures, what random weights are, and when an audit warns."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfclean_hooks import audit, audit_embeddings
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.data.views import cached_dataset
from selfclean_hooks.embedding import lowest_digests
from selfclean_hooks.embedding.cache import Cache
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders.encoder import of_callable, of_module
from selfclean_hooks.embedding.encoders.random_weights import random_copy, random_state
from selfclean_hooks.embedding.quality import chosen, is_constant, rank_me, representation_quality, same_label
from selfclean_hooks.errors import BackboneError
from tests.embedding.small_modules import CLASSES, N, Net, Signals, clusters, figures, noise


def embedded(dataset: Any, backbone: Any, **settings: Any) -> Embeddings:
    return embed(dataset, backbone, progress=False, **settings)


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
    monkeypatch.setattr(lowest_digests, "MAX_BYTES", 0)
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


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_that_hold_no_numbers_are_unreadable_and_the_others_are_embedded(workers: int, tmp_path: Path) -> None:
    class Broken(Signals):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            bad = {3: torch.nan, 40: torch.inf, 41: torch.inf}  # two of them the same
            return self.x[index] * 0 + bad[index] if index in bad else self.x[index], self.labels[index]

    whole = embedded(Signals(), Net())
    for _ in range(2):  # the second time from the cache
        found = embed(Broken(), Net(), num_workers=workers, batch_size=16, cache_dir=tmp_path, progress=False)
        assert sorted(found.errors) == [3, 40, 41]
        assert "NaN or infinity" in found.errors[40]
        np.testing.assert_allclose(found.vectors, np.delete(whole.vectors, [3, 40, 41], 0), atol=1e-5)
        assert found.fitness is not None
        assert np.isfinite(found.fitness.own.rank)
    tolerant = embed(Broken(), lambda batch: torch.nan_to_num(batch.flatten(1), 0, 0, 0), progress=False)
    assert tolerant.errors == {}
