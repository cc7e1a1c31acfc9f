"""However a data set is read and a model is run, the features are those of a plain loop, and the model is as it was."""

import copy
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from selfclean_hooks import audit, audit_splits
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.reader import Batch, Sample, SampleReader
from selfclean_hooks.data.workers import _loader
from selfclean_hooks.embedding.cache import Cache
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.encoders import forward_pass as compiling
from selfclean_hooks.embedding.encoders.encoder import Encoder, of_callable, of_module
from selfclean_hooks.embedding.encoders.forward_pass import Forward, with_precision
from selfclean_hooks.errors import SettingError
from tests.helpers.embedding_data import Items, Net, as_image, mean_colour

BF16 = 0.02  # of the largest feature: eight bits, a few layers


class Pure(Net):
    """Without a counter, which would have torch compile anew for each batch."""

    def forward(self, batch: Tensor) -> Any:
        return self.head(self.body(batch).flatten(1))


class Worded(Pure):
    """Gives its answer as models of language do."""

    def forward(self, batch: Tensor) -> Any:
        return {"logits": super().forward(batch).log_softmax(1)}


class Body(Pure):
    """Without a classifier."""

    def forward(self, batch: Tensor) -> Any:
        return self.body(batch).flatten(1)


class Failing(Pure):
    """Does what cannot be traced."""

    def forward(self, batch: Tensor) -> Any:
        if float(batch.sum()) < 0:
            raise RuntimeError("dark images")
        return super().forward(batch)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """What torch.compile hands to its backend, which here runs it as it is: no C++ compiler is needed."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", backend)
    return graphs


def by_loop(net: nn.Module, data: Items) -> np.ndarray[Any, Any]:
    """Features as people write it."""
    body: Any = copy.deepcopy(net).eval().body
    with torch.no_grad():
        return torch.cat([body(x).flatten(1) for x, _ in DataLoader(data, 1)]).numpy()


def global_state() -> list[Any]:
    return [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002


def assert_close(found: Any, expected: Any, rounding: float = 1e-5) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding * np.abs(expected).max())


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (0, 5), (0, 64), (1, 64), (2, 5)])
def test_features_are_those_of_a_plain_loop(workers: int, batch_size: int) -> None:
    data, net = Items(23), Net()
    found = embed(data, net, progress=False, num_workers=workers, batch_size=batch_size)
    assert_close(found.vectors, by_loop(net, data))


@pytest.mark.parametrize("make", [Net, Pure, Worded, Body])
def test_bf16_is_close_and_is_another_encoder(make: Callable[[], Net]) -> None:
    data, net = Items(23), make()
    full, mixed = (embed(data, net, progress=False, precision=p) for p in ("32", "bf16"))
    assert_close(mixed.vectors, full.vectors, BF16)
    assert not np.array_equal(mixed.vectors, full.vectors)  # else nothing was computed in bfloat16
    assert mixed.encoder["fingerprint"] != full.encoder["fingerprint"] is not None
    assert mixed.encoder["name"] == f"{full.encoder['name']}, bf16"


def test_no_precision_uses_what_another_one_kept(tmp_path: Path) -> None:
    data, net = Items(23), Net()
    read = partial(embed, data, net, progress=False, cache_dir=tmp_path)
    first = {precision: read(precision=precision) for precision in ("32", "bf16")}
    for precision, found in first.items():
        assert len(Cache(tmp_path, found.encoder["fingerprint"]).known) == 23
        before, again = net.fed, read(precision=precision)
        np.testing.assert_array_equal(again.vectors, found.vectors)
        assert net.fed - before <= 23 // 2  # none, but for the figures to compare with
    assert not np.array_equal(first["32"].vectors, first["bf16"].vectors)


@pytest.mark.parametrize(("make", "precision"), [(Pure, "32"), (Worded, "32"), (Body, "32"), (Body, "bf16")])
def test_compiled_features_are_the_same_and_compiled_once(
    make: Callable[[], Net], precision: str, traced: list[Any]
) -> None:
    data, net = Items(29), make()
    data.array[4] = data.array[1]  # the first batch is shorter than the others, the last one shorter still
    plain, compiled = (
        embed(data, net, progress=False, batch_size=8, precision=precision, compile=c) for c in (False, True)
    )
    assert len(traced) == 1
    assert_close(compiled.vectors, plain.vectors, 1e-5 if precision == "32" else BF16)
    assert compiled.encoder == plain.encoder
    assert compiled.notes == plain.notes


def test_a_model_of_our_own_is_compiled_and_laid_out_channels_last(traced: list[Any]) -> None:
    net = Pure().eval()
    own = Encoder("own", lambda batch: net(batch), torch.device("cpu"), "1", prepare=as_tensor, module=net)
    assert_close(embed(Items(20, as_image), own, progress=False, batch_size=8).vectors, outputs(net))
    assert [p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.ndim == 4] == [True]
    assert traced == []
    partly = Encoder("own", partial(_called, net), torch.device("cpu"), "1", prepare=as_tensor, module=net)
    found = embed(Items(20, as_image), partly, progress=False, batch_size=8, compile=True)
    assert len(traced) == 1
    assert_close(found.vectors, outputs(net))


def as_tensor(image: Any) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def outputs(net: nn.Module) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return torch.stack([net(Items(20)[at][0][None])[0] for at in range(20)]).numpy()


def _called(net: nn.Module, batch: Tensor) -> Any:
    return net(batch)


@pytest.mark.parametrize(
    ("make", "reported"),
    [
        (Failing, "the model was not compiled: "),
        (Net, "only a part of the data was computed by the compiled model"),  # it counts: other code for each batch
    ],
)
def test_what_cannot_be_compiled_is_computed_as_written(
    make: Callable[[], Net], reported: str, traced: list[Any]
) -> None:
    data, net = Items(23), make()
    found = embed(data, net, progress=False, batch_size=5, compile=True)
    assert_close(found.vectors, by_loop(net, data))
    (note,) = [note for note in found.notes if "compiled" in note]
    assert note.startswith(reported)
    assert len(traced) <= 1


def test_a_compiler_that_computes_something_else_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda graph, inputs: lambda *rest: [2 * out for out in graph.forward(*rest)]  # noqa: E731
    monkeypatch.setattr(compiling, "BACKEND", wrong)
    data, net = Items(23), Pure()
    found = embed(data, net, progress=False, batch_size=5, compile=True)
    assert_close(found.vectors, by_loop(net, data))
    assert "the model was not compiled: compiled it gives other features" in found.notes


def test_the_compiler_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # no processes that import torch anew
    monkeypatch.setattr("torch._inductor.cpu_vec_isa.valid_vec_isa_list", list)  # nor programs that try the processor
    monkeypatch.setattr("torch._inductor.config.cpp.simdlen", 1)
    monkeypatch.setattr("torch._inductor.config.cpp_cache_precompile_headers", False)  # which pays from the third on
    data, net = Items(11), Body()
    found = embed(data, net, progress=False, batch_size=4, compile=True)
    assert_close(found.vectors, by_loop(net, data))  # where there is no C++ compiler it is computed as written


def test_splits_share_what_was_compiled(traced: list[Any]) -> None:
    splits = {"train": Items(16), "val": Items(12, size=8)}
    audit_splits(splits, Pure(), progress=False, batch_size=4, compile=True)
    assert len(traced) == 1


SETTINGS: list[dict[str, Any]] = [
    {},
    {"num_workers": 1},
    {"precision": "bf16"},
    {"compile": True},
    {"precision": "bf16", "compile": True},
]


@pytest.mark.parametrize(
    ("settings", "laid_out"),
    [*((settings, torch.contiguous_format) for settings in SETTINGS), (SETTINGS[-1], torch.channels_last)],
    ids=str,
)
def test_a_users_module_is_left_as_it_was(settings: Any, laid_out: torch.memory_format, traced: list[Any]) -> None:
    net = Pure().to(memory_format=laid_out)
    net.body[1].eval()
    net.head[1].weight.requires_grad_(False)
    before = {name: (id(t), t.clone(), t.stride(), t.data_ptr()) for name, t in net.state_dict(keep_vars=True).items()}
    flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks), set(vars(m))) for m in net.modules()]
    wanted, state = [p.requires_grad for p in net.parameters()], global_state()
    audit(Items(14), net, progress=False, batch_size=4, **settings)
    for name, tensor in net.state_dict(keep_vars=True).items():
        there, value, stride, at = before[name]
        assert (id(tensor), tensor.stride(), tensor.data_ptr()) == (there, stride, at)
        assert torch.equal(tensor, value)
        assert tensor.grad is None
    assert [p.requires_grad for p in net.parameters()] == wanted
    assert flags == [
        (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), set(vars(m))) for m in net.modules()
    ]
    assert global_state() == state
    assert not torch.is_autocast_enabled("cpu")


def test_a_module_that_its_user_has_compiled_still_runs_compiled(traced: list[Any]) -> None:
    theirs: list[Any] = []
    net = Pure().eval()

    def backend(graph: Any, inputs: Any) -> Any:
        theirs.append(graph)
        return graph.forward

    own: Any = torch.compile(net, backend=backend)
    batch = torch.stack([Items(8)[at][0] for at in range(8)])
    with torch.no_grad():
        expected = own(batch)
        embed(Items(14), own, progress=False, batch_size=4, compile=True)
        assert torch.equal(own(batch), expected)
    assert (len(theirs), len(traced)) == (1, 1)


def test_a_function_computes_as_it_was_written() -> None:
    plain, asked = (embed(Items(), mean_colour, progress=False, precision=p) for p in ("32", "bf16"))
    np.testing.assert_array_equal(asked.vectors, plain.vectors)
    assert "precision and compile are for modules: a function computes as it was written" in asked.notes
    assert of_callable(mean_colour).fingerprint is None


def test_tuning_twice_is_tuning_once() -> None:
    reading = EmbeddingSettings(precision="bf16", compile=True)
    once = with_precision(of_module(Pure()), reading)
    assert isinstance(once.features, Forward)
    assert with_precision(once, reading) is once


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp8"}, 'precision must be "32", "bf16" or "16", got \'fp8\''),
        ({"precision": 16}, 'precision must be "32", "bf16" or "16", got 16'),
        ({"precision": "16"}, 'precision="16" needs an accelerator, got the device cpu'),
        ({"compile": "yes"}, "compile must be True or False, got 'yes'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"num_workers": -1}, "num_workers must be a whole number of at least 0"),
        ({"seed": True}, "seed must be a whole number of at least 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    for run in (audit, embed):
        with pytest.raises(SettingError, match=message):
            run(Items(), Net(), device="cpu", progress=False, **settings)


def test_batches_for_cuda_are_pinned() -> None:
    reader = SampleReader(Items(), None)
    for device, pinned in (("cuda", True), ("cpu", False)):
        loader = _loader(reader, EmbeddingSettings(num_workers=1), range(12), torch.device(device), 0)
        assert loader.pin_memory is pinned
    listed = Batch([Sample(0)], ["a text"])
    assert listed.pin_memory() is listed
