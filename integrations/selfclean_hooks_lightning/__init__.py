"""`DataAudit`: one line in a Lightning Trainer audits the data before training.

For `lightning`. For the package `pytorch_lightning`:

    from selfclean_hooks_lightning.pytorch_lightning import DataAudit
"""

from __future__ import annotations

from lightning.pytorch import Callback

from selfclean_hooks_lightning.callback import DataAuditHooks

__all__ = ["DataAudit"]


class DataAudit(DataAuditHooks, Callback):  # noqa: D101, the docstring is that of the hooks
    __doc__ = DataAuditHooks.__doc__
