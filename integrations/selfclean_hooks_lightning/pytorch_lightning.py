"""`DataAudit` for the package `pytorch_lightning`."""

from __future__ import annotations

from pytorch_lightning import Callback

from selfclean_hooks_lightning.callback import DataAuditHooks


class DataAudit(DataAuditHooks, Callback):  # noqa: D101, the docstring is that of the hooks
    __doc__ = DataAuditHooks.__doc__
