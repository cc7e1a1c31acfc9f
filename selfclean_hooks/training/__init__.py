"""Audits in the course of a training, for any trainer; `integrations/README.md` shows how to write a host package."""

from selfclean_hooks.training.audited_training import AuditedTraining
from selfclean_hooks.training.host import Host
from selfclean_hooks.training.settings import FurtherOptions, TrainingOptions, audits_enabled
from selfclean_hooks.training.state import TrainingState

__all__ = ["AuditedTraining", "FurtherOptions", "Host", "TrainingOptions", "TrainingState", "audits_enabled"]
