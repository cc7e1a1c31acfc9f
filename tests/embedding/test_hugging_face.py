"""Models of transformers as backbones: tiny ones with random weights, some of them saved to disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from selfclean_hooks import audit
from selfclean_hooks.embedding.backbones.hugging_face import is_transformer, of_transformer
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.embedding.weights.timm_hub import similar_names
from selfclean_hooks.errors import BackboneError, UnknownBackboneError

transformers: Any = pytest.importorskip("transformers")

BODY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
SEEING: dict[str, Any] = {**BODY, "image_size": 32, "patch_size": 8}
READING: dict[str, Any] = {**BODY, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 8, 12], "depths": [1, 1, 1, 1]}
BOTH: dict[str, Any] = {"vision_config": SEEING, "text_config": READING, "projection_dim": 6}


def images(n: int = 6) -> list[tuple[Image.Image, int]]:
    rng = np.random.default_rng(0)
    return [(Image.fromarray(rng.integers(0, 256, (20 + i, 24, 3), np.uint8)), i % 2) for i in range(n)]


def vit(**more: Any) -> Any:
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SEEING, **more)).eval()


def normalized() -> torch.Tensor:
    """The images as a model of 32 x 32 pixels takes them, made step by step."""
    small = [np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)) for image, _ in images()]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


def vectors(model: Any, data: Any) -> Any:
    return torch.from_numpy(embed(data, model, progress=False).vectors)


def first(output: Any) -> Any:
    return output.last_hidden_state[:, 0]


def pooled(output: Any) -> Any:
    return output.pooler_output.flatten(1)


# what is taken of the output of each: the class token, the pooler's, the mean over tokens
SEERS: dict[str, tuple[Any, Any]] = {
    "ViT, whose pooler few checkpoints hold": (lambda t: t.ViTModel(t.ViTConfig(**SEEING)), first),
    "DINOv2": (lambda t: t.Dinov2Model(t.Dinov2Config(**SEEING)), pooled),
    "CLIP's vision model": (lambda t: t.CLIPVisionModel(t.CLIPVisionConfig(**SEEING)), pooled),
    "BEiT": (lambda t: t.BeitModel(t.BeitConfig(**SEEING)), pooled),
    "ResNet": (lambda t: t.ResNetModel(t.ResNetConfig(**STAGES, embedding_size=8, image_size=32)), pooled),
    "ConvNeXt": (lambda t: t.ConvNextModel(t.ConvNextConfig(**STAGES, image_size=32)), pooled),
    "PVT, which gives maps": (
        lambda t: t.PvtV2Model(t.PvtV2Config(**STAGES, image_size=32, num_attention_heads=[1, 1, 1, 2])),
        lambda output: output.last_hidden_state.mean((2, 3)),
    ),
}


@pytest.mark.parametrize("name", SEERS)
def test_images_are_fitted_and_outputs_pooled(name: str) -> None:
    make, take = SEERS[name]
    torch.manual_seed(0)
    model = make(transformers).eval()
    with torch.no_grad():
        expected = take(model(normalized()))
    torch.testing.assert_close(vectors(model, images()), expected, rtol=1e-4, atol=1e-5)


def test_a_head_is_left_aside() -> None:
    model = vit()
    with torch.no_grad():
        expected = first(model.vit(normalized()))
    torch.testing.assert_close(vectors(model, images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_of_a_model_of_images_and_text_the_image_side_is_taken(kind: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**BOTH)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    with torch.no_grad():
        found = model.get_image_features(pixel_values=normalized())
    expected = getattr(found, "pooler_output", found)
    torch.testing.assert_close(vectors(model, images()), expected, rtol=1e-4, atol=1e-5)


def test_a_masked_autoencoder_sees_whole_images() -> None:
    model = transformers.ViTMAEModel(transformers.ViTMAEConfig(**SEEING, mask_ratio=0.75)).eval()
    torch.testing.assert_close(vectors(model, images()), vectors(model, images()))
    assert model.config.mask_ratio == 0.75


def test_other_channels_and_sizes_follow_the_configuration() -> None:
    model = transformers.ViTModel(transformers.ViTConfig(**{**SEEING, "image_size": (16, 32)}, num_channels=1)).eval()
    encoder = of_transformer(model)
    assert encoder.prepare is not None
    assert encoder.prepare(images()[0][0]).shape == (1, 16, 32)
    assert vectors(model, images()).shape == (6, 16)
    assert "resized to 16 x 32" in encoder.note


def test_its_own_image_processor_is_used_where_the_model_was_loaded_from(tmp_path: Path) -> None:
    processor = transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.2] * 3, image_std=[2] * 3
    )
    vit().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    pixels = processor(images=[image for image, _ in images()], return_tensors="pt")["pixel_values"]
    model = transformers.AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = first(model.vit(pixels))
    assert of_transformer(model).note == ""
    torch.testing.assert_close(vectors(model, images()), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(vectors(f"hf:{tmp_path}", images()), expected, rtol=1e-4, atol=1e-5)


def test_by_name_from_a_folder(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    before = torch.get_rng_state()
    verbosity = transformers.utils.logging.get_verbosity()
    found = audit(images(), backbone=f"hf:{tmp_path}")
    assert found.provenance["encoder"]["name"] == f"hf:{tmp_path}"
    assert any(note.startswith(f"backbone: hf:{tmp_path}, ViTModel") for note in found.provenance["notes"])
    assert torch.equal(torch.get_rng_state(), before)
    assert transformers.utils.logging.get_verbosity() == verbosity


def test_a_saved_encoder_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path)
    encoder = resolve(f"hf:{tmp_path}", images())  # type: ignore[arg-type]  # its images are not looked at
    assert len(encoder.sent()) > 1000


@pytest.mark.parametrize("name", ["no/such-model", "x y//z", "/no/such/folder"])
def test_a_wrong_name_is_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(BackboneError, match=r"is no folder, is not in the local cache.*check the name"):
        embed(images(), f"hf:{name}", progress=False)


def test_a_folder_without_a_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be loaded as a model of transformers"):
        embed(images(), f"hf:{tmp_path}", progress=False)


ROWS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14], [15, 16], [17, 18, 19]]


@pytest.mark.parametrize("kind", ["BertModel", "BertForSequenceClassification", "RobertaModel", "GPT2Model"])
def test_token_ids_are_padded_and_padding_is_no_part_of_the_mean(kind: str) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, kind).config_class
    names = {"n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": None} if "GPT2" in kind else {}
    model = getattr(transformers, kind)(config(**{**READING, **names})).eval()
    with torch.no_grad():
        each = [model.base_model(torch.tensor([row])).last_hidden_state[0].mean(0) for row in ROWS]
    data = [{"input_ids": row, "label": i % 2} for i, row in enumerate(ROWS)]
    torch.testing.assert_close(vectors(model, data), torch.stack(each), rtol=1e-4, atol=1e-5)


def test_of_an_encoder_and_a_decoder_the_encoder_is_taken() -> None:
    config = transformers.T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=60)
    model = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        each = [model.encoder(torch.tensor([row])).last_hidden_state[0].mean(0) for row in ROWS]
    data = [{"input_ids": row} for row in ROWS]
    torch.testing.assert_close(vectors(model, data), torch.stack(each), rtol=1e-4, atol=1e-5)


def tokenizer(folder: Path) -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "very"]
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    return transformers.BertTokenizerFast(str(folder / "vocab.txt"))


TEXTS = ["good film", "bad film", "very very good film", "bad", "good", "very bad film"]


def test_texts_are_tokenized_by_its_own_tokenizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**READING)).eval()
    model.save_pretrained(tmp_path)
    own = tokenizer(tmp_path)
    own.save_pretrained(tmp_path)
    with torch.no_grad():
        each = [model(**own(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in TEXTS]
    data = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    torch.testing.assert_close(vectors(f"hf:{tmp_path}", data), torch.stack(each), rtol=1e-4, atol=1e-5)


def test_texts_without_a_tokenizer_are_a_sentence() -> None:
    model = transformers.BertModel(transformers.BertConfig(**READING))
    with pytest.raises(BackboneError, match="takes token ids, got texts"):
        embed([{"text": text} for text in TEXTS], model, progress=False)


def test_the_model_stays_as_it_is() -> None:
    model = vit(hidden_dropout_prob=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, two = vectors(model, images()), vectors(model, images())
    assert torch.equal(one, two)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_other_modules_are_no_transformers() -> None:
    assert is_transformer(vit())
    assert not is_transformer(torch.nn.Linear(2, 2))
    assert not is_transformer(torch.nn.Sequential(vit()))  # fed as its user feeds it


NAMES = [
    ("dinov2_vits14", "vit_small_patch14_dinov2"),
    ("ViT-B-32", "vit_base_patch32_224"),
    ("swin_t", "swin_tiny_patch4_window7_224"),
    ("dino_vits16", "vit_small_patch16_224"),
    ("google/vit-base-patch16-224", "vit_base_patch16_224"),
    ("microsoft/resnet-50", "resnet50"),
    ("efficientnet-lite0", "efficientnet_lite0"),
    ("resnt18", "resnet18"),
]


@pytest.mark.parametrize(("name", "meant"), NAMES)
def test_names_of_other_libraries_are_recognised(name: str, meant: str) -> None:
    import timm

    assert meant in similar_names(name, timm.list_models())[:3]


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert similar_names("zzzz", ["resnet18", "vit_base_patch16_224"]) == []
    assert similar_names("x", []) == []


def test_a_name_of_the_hub_is_suggested_with_its_prefix() -> None:
    with pytest.raises(UnknownBackboneError, match="did you mean hf:facebook/dinov2-small, vit_small_patch14_dinov2"):
        embed(images(), "facebook/dinov2-small", progress=False)
