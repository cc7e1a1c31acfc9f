"""`audit_trainer`: one line before `trainer.train()` audits the data of a transformers Trainer."""

from __future__ import annotations

try:
    import transformers  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "selfclean_hooks_transformers needs transformers: pip install 'selfclean-hooks[transformers]'", name=error.name
    ) from error

from selfclean_hooks_transformers.trainer_audit import audit_trainer

__all__ = ["audit_trainer"]
