"""What a training leaves: an encoder, its file, and the command that writes it."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from PIL import Image

from selfclean_hooks import audit
from selfclean_hooks.cli import main as cli
from selfclean_hooks.cli import pretrain as command
from selfclean_hooks.embedding.backbones.self_supervised import of_pretrained
from selfclean_hooks.embedding.pretrain import run as files
from selfclean_hooks.embedding.pretrain.representation import Representation, edges, thumbnail
from selfclean_hooks.embedding.pretrain.run import Pretrained
from selfclean_hooks.errors import BackboneError, SettingError
from tests.embedding.pretrain.small_trainings import embed, noise, pretrain, untrained


@pytest.fixture(scope="session")
def twelve() -> tuple[list[Image.Image], Pretrained]:
    """Images, and an encoder trained on them for two epochs."""
    images = noise(12)
    return images, pretrain(images, epochs=2)


def test_encoder_is_ready_and_scale_free_in_the_batch(twelve: tuple[list[Image.Image], Pretrained]) -> None:
    images, trained = twelve
    assert not any(part.training for part in trained.encoder.modules())
    alone = torch.cat([embed(trained, [image]) for image in images])
    assert torch.allclose(alone, embed(trained, images), atol=1e-4)  # edges are square roots, near 0 too


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
        ("lightning", {"trainer": {"precision": "bf16-mixed"}}, "training with settings of its Trainer"),
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
    monkeypatch.delitem(sys.modules, "selfclean_hooks.embedding.pretrain.lightning_training", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackboneError, match=f"{what} needs {package}: pip install {package}$"):
        pretrain(noise(2), epochs=1, size=8, **settings)


def test_an_encoder_that_cannot_be_had_is_said() -> None:
    with pytest.raises(BackboneError, match="'resnet99' is no timm model: did you mean"):
        pretrain(noise(4), encoder="resnet99")
    with pytest.raises(SettingError, match="must be a ViT"):
        pretrain(noise(4), objective="mae", encoder="small")


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
