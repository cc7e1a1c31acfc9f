"""What timm knows of its models, and where it has their weights from."""

from __future__ import annotations

from typing import Any

from selfclean_hooks.embedding.weights.similar_names import similar_names
from selfclean_hooks.errors import BackboneError, UnknownBackboneError
from selfclean_hooks.utils.imports import needs

PRETRAINED = "efficientnet_lite0.ra_in1k"  # of "auto": small, and good at all three issues
HUB_SECONDS = 3.0  # how long an unreachable hub may hold up an audit
FILES = ("model.safetensors", "pytorch_model.bin")


def import_timm(what: str) -> Any:
    """The module timm, for `what`.

    Raises:
        BackboneError: it is not installed.
    """
    with needs("timm", what):
        import timm
    return timm


def check_known(name: str) -> None:
    """Check that timm has a model of this name.

    Raises:
        UnknownBackboneError: it has none; suggests similar names.
    """
    timm = import_timm(f"the backbone {name!r}")
    if not timm.is_model(name.split(".")[0]):
        near = similar_names(name.split(".")[0], timm.list_models()) or [PRETRAINED]
        near = [f"hf:{name}", *near[:2]] if "/" in name else near
        raise UnknownBackboneError(f"backbone {name!r} is no timm model: did you mean {', '.join(near)}?")


def weights_of(name: str) -> str:
    """Path of a timm model's pretrained weights.

    Raises:
        BackboneError: they are not in the local cache, and the hub does not answer soon.
    """
    import huggingface_hub

    timm = import_timm(f"the backbone {name!r}")
    repository = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
    if not repository:
        raise BackboneError(f"timm has no pretrained weights for {name!r}: choose a name with a tag, as {PRETRAINED!r}")
    for file in FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return cached
    try:
        huggingface_hub.HfApi().model_info(repository, timeout=HUB_SECONDS)
        return huggingface_hub.hf_hub_download(repository, FILES[0])
    except Exception as error:  # every HTTP library that the hub has used raises its own
        raise BackboneError(
            f"the weights of {name!r} are not in the local cache and the hub cannot be reached "
            f"({type(error).__name__}): "
            'connect once, pass an nn.Module, or use backbone="self-supervised"'
        ) from error
