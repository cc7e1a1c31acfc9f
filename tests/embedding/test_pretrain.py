import itertools
import pickle
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from lightning import Callback
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from selfclean_hooks import audit
from selfclean_hooks.cli import main as cli
from selfclean_hooks.cli import pretrain as command
from selfclean_hooks.data.images import shrink
from selfclean_hooks.embedding.backbones import self_supervised
from selfclean_hooks.embedding.backbones.self_supervised import of_pretrained
from selfclean_hooks.embedding.pretrain import convergence, images
from selfclean_hooks.embedding.pretrain import run as files
from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.recipe import OBJECTIVES, Recipe
from selfclean_hooks.embedding.pretrain.representation import Representation, edges, thumbnail
from selfclean_hooks.embedding.pretrain.run import Pretrained
from selfclean_hooks.embedding.pretrain.run import pretrain as train
from selfclean_hooks.errors import AuditFileError, BackboneError, DataError, DataWarning, SettingError

Images = Sequence[Any]
UNFINISHED = pytest.mark.filterwarnings("ignore:the training stopped:selfclean_hooks.errors.DataWarning")


def pretrain(images: Any, progress: Any = None, trainer: Any = None, partial: Any = None, **recipe: Any) -> Pretrained:
    return train(images, Recipe(**recipe), progress=progress, trainer=trainer, partial=partial)


def noise(count: int, shape: tuple[int, ...] = (28, 28), seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]


def digits(count: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    data = load_digits()
    pixels = (data.images[:count] * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(image) for image in pixels], data.target[:count]


def embed(trained: Pretrained, images: Images) -> torch.Tensor:
    batch = torch.stack([trained.canvas(image) for image in images]).float() / 255
    with torch.no_grad():
        embedded: torch.Tensor = trained.encoder(batch)
    return embedded


@pytest.fixture(scope="session")
def twelve() -> tuple[list[Image.Image], Pretrained]:
    """Images, and an encoder trained on them for two epochs."""
    images = noise(12)
    return images, pretrain(images, epochs=2)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_tiny_data_train(count: int) -> None:
    images = noise(count)
    trained = pretrain(images, epochs=2)
    embedded = embed(trained, images)
    assert trained.epochs == 2
    assert embedded.dtype == torch.float32
    assert embedded.shape[0] == count
    assert torch.isfinite(embedded).all()


@pytest.mark.parametrize(("image", "channels"), [(Image.new("L", (9, 9)), 1), (Image.new("RGB", (9, 9), "red"), 3)])
def test_identical_images_get_identical_finite_embeddings(image: Image.Image, channels: int) -> None:
    trained = pretrain([image] * 6, epochs=3)
    embedded = embed(trained, [image] * 6)
    assert trained.canvas.channels == channels
    assert torch.isfinite(embedded).all()
    assert torch.allclose(embedded, embedded[:1].expand_as(embedded), atol=1e-6)


def test_mixed_sizes_and_modes_train_and_stay_as_they_were() -> None:
    alpha = Image.new("RGBA", (40, 70), (0, 200, 0, 100))
    images = [*noise(2, (10, 90, 3)), *noise(2, (33, 20)), alpha, Image.new("P", (1, 1))]
    before = [image.tobytes() for image in images]
    trained = pretrain(images, epochs=1)
    assert trained.canvas.channels == 3
    assert torch.isfinite(embed(trained, images)).all()
    assert [image.tobytes() for image in images] == before


@pytest.mark.parametrize(("side", "size"), [(8, 16), (28, 28), (37, 36), (500, 64)])
def test_size_follows_the_images(side: int, size: int) -> None:
    assert pretrain(noise(2, (side, side)), epochs=1).canvas.size == size


def test_grey_images_saved_as_colour_count_as_grey_until_one_is_not() -> None:
    grey = [image.convert("RGB") for image in noise(5)]
    assert pretrain(grey, epochs=1).canvas.channels == 1
    assert pretrain([*grey, Image.new("RGB", (28, 28), "red")], epochs=1).canvas.channels == 3


def test_unreadable_images_are_skipped() -> None:
    good = noise(6)

    class Broken(Sequence[Image.Image]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            if index in (0, 7):
                raise OSError("truncated")
            return good[index - 1]

    trained = pretrain(Broken(), epochs=1)
    assert torch.equal(embed(trained, good), embed(pretrain(good, epochs=1), good))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_is_said(count: int) -> None:
    with pytest.raises(
        DataError, match=f"at least two images that can be read, got {count} of {count}: pass backbone="
    ):
        pretrain(noise(count))


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"max_seconds": 0.0},
        {"max_seconds": np.nan},
        {"size": 4},
        {"learning_rate": -1.0},
        {"patience": -1},
        {"objective": "supervised"},
        {"start": "nowhere.ckpt"},
        {"start": "pretrained"},
    ],
)
def test_settings_without_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        pretrain(noise(4), **setting)


def test_seed_decides() -> None:
    images = noise(20)
    first, again, other = (embed(pretrain(images, seed=s, epochs=2, batch_size=10, size=8), images) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def states() -> tuple[object, bytes, bytes]:
    numpy_state = pickle.dumps(np.random.get_state())  # noqa: NPY002, read in order to compare it
    return random.getstate(), numpy_state, torch.get_rng_state().numpy().tobytes()


def test_global_random_states_and_threads_are_left_alone_also_after_an_exception() -> None:
    before, threads = states(), torch.get_num_threads()
    pretrain(noise(8), seed=7, epochs=1)
    assert states() == before

    def stop(done: int, planned: int) -> None:
        torch.rand(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(noise(8), epochs=1, progress=stop)
    assert states() == before
    assert torch.get_num_threads() == threads


def test_progress_reports_every_step() -> None:
    seen: list[tuple[int, int]] = []
    pretrain(noise(10), epochs=3, batch_size=4, progress=lambda done, planned: seen.append((done, planned)))
    assert seen == [(step, 6) for step in range(1, 7)]


@UNFINISHED
def test_max_seconds_ends_training_after_a_whole_step() -> None:
    seen: list[int] = []
    trained = pretrain(
        noise(10), epochs=1000, batch_size=4, max_seconds=1e-9, progress=lambda done, _: seen.append(done)
    )
    assert len(seen) == 1
    assert trained.epochs == 0
    assert torch.isfinite(embed(trained, noise(10))).all()


def test_large_data_are_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGES", 5)
    seen: list[int] = []
    pretrain(noise(50), epochs=1, batch_size=2, progress=lambda done, planned: seen.append(planned))
    assert seen == [2, 2]  # five images, two a step
    few = [pretrain(noise(50), epochs=1, seed=s).encoder.network.mean for s in (0, 0, 1)]
    assert few[0] == few[1]
    assert few[0] != few[2]


def test_encoder_is_ready_and_scale_free_in_the_batch(twelve: tuple[list[Image.Image], Pretrained]) -> None:
    images, trained = twelve
    assert not any(part.training for part in trained.encoder.modules())
    alone = torch.cat([embed(trained, [image]) for image in images])
    assert torch.allclose(alone, embed(trained, images), atol=1e-4)  # edges are square roots, near 0 too


def accuracy_of(trained: Pretrained, images: Images, labels: NDArray[np.int64]) -> float:
    with torch.no_grad():
        features = trained.encoder.learned(torch.stack([trained.canvas(p) for p in images]).float() / 255).numpy()
    half = len(labels) // 2
    knn = KNeighborsClassifier(5, metric="cosine").fit(features[:half], labels[:half])
    return float(knn.score(features[half:], labels[half:]))


@UNFINISHED
def test_training_beats_the_same_network_untrained() -> None:
    """Nearest neighbours by the learned half alone: the thumbnail does not help here."""
    images, labels = digits(300)
    untrained = pretrain(images, epochs=1, max_seconds=1e-9, size=8)
    trained = pretrain(images, epochs=6, batch_size=50, size=8)
    assert accuracy_of(trained, images, labels) > accuracy_of(untrained, images, labels) + 0.02


def test_shrink_gives_channels_first_bytes() -> None:
    red = Image.new("RGB", (50, 20), "red")
    assert shrink(red, 30).shape == (3, 30, 30)
    assert shrink(red, 30).dtype == torch.uint8
    assert shrink(red, 30).amax((1, 2)).tolist() == [255, 0, 0]
    assert set(shrink(red, 30, 1).flatten().tolist()) == {76}


def untrained(trained: Pretrained) -> torch.nn.Sequential:
    assert trained.encoder.texture is not None
    return trained.encoder.texture.trunk


def test_parts_have_the_lengths_of_their_weights(twelve: tuple[list[Image.Image], Pretrained]) -> None:
    """Cosine distance is the weighted mean of those of the parts, each computed anew here."""
    images, trained = twelve
    x, e = torch.stack([trained.canvas(image) for image in images]).float() / 255, trained.encoder
    with torch.no_grad():
        seen = untrained(trained)(e.network.normalized(x)).flatten(2)
        texture = torch.cat([seen.mean(2), seen.std(2)], 1)
        parts = [thumbnail(x, 28), edges(x), e.learned(x), texture]
    weights = [1.0, 1.0, 0.25, 3.0]
    wanted = sum(w * F.cosine_similarity(p[:, None], p[None], dim=2) for w, p in zip(weights, parts, strict=True))
    found = embed(trained, images)
    np.testing.assert_allclose(F.normalize(found) @ F.normalize(found).T, wanted / sum(weights), atol=1e-5)


def test_untrained_layers_are_normalized_by_the_images() -> None:
    images = [*noise(40), *(Image.new("L", (28, 28), level) for level in range(40))]
    trained = pretrain(images, epochs=1, learning_rate=1e-12)
    x = trained.encoder.network.normalized(torch.stack([trained.canvas(image) for image in images]).float() / 255)
    stem = untrained(trained)[:2](x)
    torch.testing.assert_close(stem.mean((0, 2, 3)), torch.zeros(16), atol=0.1, rtol=0)
    torch.testing.assert_close(stem.std((0, 2, 3)), torch.ones(16), atol=0.1, rtol=0)
    again = pretrain(images, epochs=3)
    other = pretrain(images, epochs=1, seed=1)
    own = untrained(trained).state_dict()
    assert all(torch.equal(value, own[name]) for name, value in untrained(again).state_dict().items())
    assert not torch.equal(untrained(other).state_dict()["0.weight"], own["0.weight"])


def test_a_file_of_the_first_version_gives_what_it_gave(tmp_path: Path) -> None:
    """Without the layers that it does not hold, weighted as they were then."""
    images = noise(6)
    trained = pretrain(images, epochs=1)
    old = Representation(trained.encoder.network, trained.encoder.projection, trained.canvas, version=1).eval()
    files.save(replace(trained, encoder=old), tmp_path / "e.safetensors")
    loaded = files.load(tmp_path / "e.safetensors")
    assert loaded.version == 1
    x = torch.stack([trained.canvas(image) for image in images]).float() / 255
    with torch.no_grad():
        parts = [thumbnail(x, 28), edges(x), loaded.encoder.learned(x)]
    scaled = [weight**0.5 * F.normalize(part) for weight, part in zip((1.0, 1.0, 0.5), parts, strict=True)]
    torch.testing.assert_close(embed(loaded, images), torch.cat(scaled, 1))
    found = {one.fingerprint for one in map(partial(of_pretrained, name=""), (loaded, trained))}
    assert len(found) == 2


# --- objectives, encoders and kinds of images ------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_learns_the_same_twice(objective: str) -> None:
    n, size, epochs = (90, 16, 20) if objective == "dino" else (60, 8, 6)  # the slow teacher takes its time
    images, labels = digits(n)
    losses: list[float] = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    settings: dict[str, Any] = {"objective": objective, "epochs": epochs, "batch_size": 15, "size": size, "patience": 0}
    trained = pretrain(images, trainer={"callbacks": [Losses()]}, **settings)
    steps = n // 15
    assert len(losses) == steps * epochs
    assert np.mean(losses[-steps:]) < np.mean(losses[:steps])
    assert accuracy_of(trained, images, labels) > 0.2  # ten classes
    first, again = (pretrain(images[:30], **{**settings, "epochs": 1}) for _ in range(2))
    assert torch.equal(embed(first, images), embed(again, images))


@pytest.mark.parametrize(
    ("encoder", "objective", "size"),
    [("resnet10t", "simclr", 64), ("vit_tiny_patch16_224", "dino", 28), ("vit_tiny_patch16_224", "mae", 30)],
)
def test_any_timm_model_is_sized_to_the_data(encoder: str, objective: str, size: int) -> None:
    images = noise(6)
    trained = pretrain(images, encoder=encoder, objective=objective, epochs=1, size=None if size == 64 else size)
    assert trained.canvas.size == {30: 32}.get(size, size)
    assert torch.isfinite(embed(trained, images)).all()
    assert trained.recipe.encoder == encoder


@pytest.mark.parametrize(
    ("package", "settings", "what"),
    [
        ("lightning", {}, "self-supervised training"),
        ("torchvision", {}, "the encoder 'small'"),
        ("timm", {"encoder": "small-vit"}, "the encoder 'small-vit'"),
        ("timm", {"encoder": "resnet10t"}, "the backbone 'resnet10t'"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_cure(
    package: str, settings: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "selfclean_hooks.embedding.pretrain.training", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackboneError, match=f"{what} needs {package}: pip install {package}$"):
        pretrain(noise(2), epochs=1, size=8, **settings)


def test_an_encoder_that_cannot_be_had_is_said() -> None:
    with pytest.raises(BackboneError, match="'resnet99' is no timm model: did you mean"):
        pretrain(noise(4), encoder="resnet99")
    with pytest.raises(SettingError, match="must be a ViT"):
        pretrain(noise(4), objective="mae", encoder="small")


@pytest.mark.parametrize("channels", [2, 13])
def test_images_of_many_channels(channels: int) -> None:
    rng = np.random.default_rng(0)
    scale = np.arange(1, channels + 1)[:, None, None] * 1000.0
    images = [scale * rng.random((channels, 20, 30)) for _ in range(8)]
    trained = pretrain(images, epochs=2)
    assert (trained.canvas.channels, trained.canvas.size) == (channels, 32)
    np.testing.assert_allclose(trained.canvas.high, 990 * np.arange(1, channels + 1), rtol=0.02)
    fed = trained.canvas(images[0])
    assert (fed.shape, fed.dtype) == ((channels, 32, 32), torch.uint8)
    assert fed.float().mean((1, 2)).sub(127).abs().max() < 12  # each channel over its own range
    assert torch.isfinite(embed(trained, images)).all()
    with pytest.raises(DataError, match=f"as many channels as the first ones, {channels}: got 4"):
        trained.canvas(np.zeros((4, 9, 9)))


def test_sixteen_bits_are_not_clipped() -> None:
    ramp = np.linspace(0, 60_000, 32 * 32).reshape(32, 32).astype(np.uint16)
    fed = Canvas(32, 1)(Image.fromarray(ramp))
    assert len(np.unique(fed.numpy())) > 200


def test_a_data_set_of_many_channels_is_audited() -> None:
    rng = np.random.default_rng(0)
    data = [(rng.random((6, 12, 12)).astype(np.float32), i % 2) for i in range(12)]
    data[7] = data[3]
    found = audit(data, "auto", progress=False)
    assert found.pairs.loc[0, ["index_1", "index_2"]].tolist() == [3, 7]
    assert any("for images of up to 4 channels" in note for note in found.provenance["notes"])


# --- ends, interruptions and files -------------------------------------------------------------------


class KilledError(Exception):
    pass


def test_a_training_that_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    images, _ = digits(60)
    partial = tmp_path / "state"
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 20, "size": 16, "objective": "dino", "patience": 3}
    whole = pretrain(images, **settings)

    def die(done: int, planned: int) -> None:
        if done == 8:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(images, progress=die, partial=partial, **settings)
    assert partial.exists()
    with pytest.raises(AuditFileError, match="of other data or with other settings"):
        pretrain(images[:-1], partial=partial, **settings)
    seen: list[int] = []
    resumed = pretrain(images, partial=partial, progress=lambda done, _: seen.append(done), **settings)
    assert seen[0] == 7  # two epochs of three steps were kept
    assert torch.equal(embed(whole, images), embed(resumed, images))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other").write_bytes(b"no training")
    with pytest.raises(AuditFileError, match="is no training that was interrupted"):
        pretrain(images, partial=tmp_path / "other", **settings)
    assert (tmp_path / "other").read_bytes() == b"no training"


def test_an_interrupt_is_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt(done: int, planned: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(noise(8), epochs=2, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_ends_early_where_nothing_changes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "IMAGES_PER_CHECK", 1)
    images, _ = digits(30)
    still: dict[str, Any] = {"epochs": 14, "batch_size": 5, "size": 16, "learning_rate": 1e-12}
    assert 4 <= pretrain(images, patience=3, **still).epochs < 14  # batch norm comes to rest first
    assert pretrain(images, patience=0, **still).epochs == 14


def bytes_of(trained: Pretrained) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trained.encoder.state_dict().values())


def test_a_slow_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = digits(60)
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 20, "size": 16}
    fast, hours = pretrain(images, **settings), itertools.count(0.0, 600.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    assert bytes_of(pretrain(images, **settings)) == bytes_of(fast)


@pytest.mark.parametrize("objective", ["simclr", "mae"])
def test_the_number_of_threads_changes_nothing(objective: str) -> None:
    images = noise(200, (28, 28, 3))  # enough for torch to share the work out
    before, found = torch.get_num_threads(), set[bytes]()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.add(bytes_of(pretrain(images, epochs=1, batch_size=100, objective=objective)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_the_learning_rate_follows_the_steps_alone() -> None:
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    pretrain(noise(40), epochs=10, batch_size=20, patience=0, learning_rate=0.5, trainer={"callbacks": [Rates()]})
    share = np.arange(20) / 20
    up, down = (share + 1e-3) / 0.15, (share - 0.15) / 0.85
    wanted = np.where(share < 0.15, 1 - np.cos(np.pi * up), 1 + np.cos(np.pi * down)) / 4
    np.testing.assert_allclose(rates, wanted, atol=1e-9)


def test_a_training_that_is_unfinished_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(20)
    words = r"the training stopped after \d+ s and 0 whole epochs, before its end: the encoder depends on the speed"
    with pytest.warns(DataWarning, match=words):
        trained = pretrain(images, epochs=3, batch_size=4, max_seconds=1e-9)
    files.save(trained, tmp_path / "e.safetensors")
    assert files.load(tmp_path / "e.safetensors").warning == trained.warning
    found = audit([(image, 0) for image in images], tmp_path / "e.safetensors", progress=False)
    assert any(trained.warning in note for note in found.provenance["notes"])
    monkeypatch.setattr(self_supervised, "Recipe", partial(Recipe, max_seconds=1e-9))
    with pytest.warns(DataWarning, match="the training stopped"):
        found = audit([(image, 0) for image in images], "self-supervised", progress=False)
    assert any("before its end" in note for note in found.provenance["notes"])
    assert pretrain(images, epochs=1, batch_size=20, max_seconds=1e-9).warning == ""  # its only step is the last


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases: list[tuple[Any, dict[str, Any]]] = [
        (noise(6), {"epochs": 1}),
        ([rng.random((5, 9, 9)) for _ in range(4)], {"epochs": 1, "seed": 3}),
        (noise(4, (30, 30, 3)), {"epochs": 1, "encoder": "resnet10t", "objective": "simclr"}),
        (noise(4), {"epochs": 1, "objective": "mae"}),
    ]
    for data, settings in cases:
        trained = pretrain(data, **settings)
        files.save(trained, tmp_path / "e.safetensors")
        loaded = files.load(tmp_path / "e.safetensors")
        assert (loaded.canvas, loaded.recipe, loaded.epochs) == (trained.canvas, trained.recipe, trained.epochs)
        assert torch.equal(embed(loaded, data), embed(trained, data))
    found = audit([(image, 0) for image in noise(20)], tmp_path / "e.safetensors", progress=False)
    assert "mae" in found.provenance["encoder"]["name"]


def test_a_damaged_encoder_is_said(tmp_path: Path, twelve: tuple[list[Image.Image], Pretrained]) -> None:
    files.save(twelve[1], tmp_path / "e")
    whole = (tmp_path / "e").read_bytes()
    for damaged in (b"", b"x" * 100, whole[: len(whole) // 2]):
        (tmp_path / "bad").write_bytes(damaged)
        with pytest.raises(BackboneError, match="is no encoder that selfclean-hooks pretrain wrote"):
            files.load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("600", 600), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("01:30:00", 5400), ("2:00", 120), ("1.5h", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert command.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "ten", "5 m", "10m5", "-3", "1:2:3:4:5"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(SettingError, match="--max-time must be a time as 600"):
        command.seconds_of(text)


def test_the_command_writes_an_encoder_that_audit_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, image in enumerate(noise(12)):
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "encoder.safetensors"
    log = tmp_path / "out" / "log"
    arguments = [
        "pretrain",
        str(tmp_path),
        "-o",
        str(file),
        "--epochs",
        "2",
        "--objective",
        "simclr",
        "--log",
        str(log),
    ]
    assert cli.main(arguments) == 0
    reported = capsys.readouterr().out
    assert reported.startswith(f"{file}: simclr of small at 28 px, 12 images, 2 epochs in ")
    assert "12 images are few" in reported
    assert "loss" in (log / "metrics.csv").read_text()
    assert cli.main(["audit", str(tmp_path), "-o", str(tmp_path / "audit"), "--backbone", str(file)]) == 0
    assert cli.main([*arguments, "--max-time", "soon"]) == 2
    np.savez(tmp_path / "vectors.npz", embeddings=np.eye(4))
    assert cli.main(["pretrain", str(tmp_path / "vectors.npz"), "-o", str(file)]) == 2
    assert "holds embeddings: give the images" in capsys.readouterr().err
