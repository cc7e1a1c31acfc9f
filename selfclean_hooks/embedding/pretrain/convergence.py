"""When there is little left to learn: neighbours and effective rank of some pictures do not change any more."""

from __future__ import annotations

from typing import Any

import lightning as L  # noqa: N812, its own name
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.quality import rank_me

LOOKED_AT = 1000  # pictures
NEIGHBOURS = 10
PICTURES_BETWEEN = 10_000  # seen between two looks
KEPT = 0.9  # share of the nearest neighbours that stay
RANK_CHANGE = 0.02


class Convergence(L.Callback):
    """Ends a training once the nearest neighbours and RankMe stay the same from look to look."""

    def __init__(self, recipe: Recipe) -> None:
        self.patience = recipe.patience
        self.quiet, self.seen = 0, 0
        self.before: tuple[Tensor, float] | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Look, once enough was seen."""
        self.seen += len(pl_module.data[0])
        if self.seen < PICTURES_BETWEEN:
            return
        self.seen = 0
        near, rank = self._looked(pl_module)
        if self.before is not None:
            kept = float((near[:, :, None] == self.before[0][:, None]).any(2).float().mean())
            if trainer.logger is not None:
                pl_module.log_dict({"neighbours_kept": kept, "rank_me": rank}, sync_dist=True)
            is_quiet = kept >= KEPT and abs(rank - self.before[1]) <= RANK_CHANGE * self.before[1]
            self.quiet = self.quiet + 1 if is_quiet else 0
        self.before = near, rank
        if self.quiet >= self.patience:
            trainer.should_stop = True

    @torch.no_grad()
    def _looked(self, training: Any) -> tuple[Tensor, float]:
        """(n, 10) nearest neighbours, RankMe."""
        data, network = training.data[0], training.objective.network
        chosen = torch.linspace(0, len(data) - 1, min(len(data), LOOKED_AT)).long()
        network.eval()
        rows = [network(part.to(training.device).float() / 255).float().cpu() for part in data[chosen].split(250)]
        network.train()
        x = F.normalize(torch.cat(rows))
        near = (x @ x.T).fill_diagonal_(-2).topk(min(NEIGHBOURS, len(x) - 1)).indices
        return near, rank_me(x.numpy())

    def state_dict(self) -> dict[str, Any]:
        """For a resume."""
        return {"quiet": self.quiet, "seen": self.seen, "before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a resume."""
        self.quiet, self.seen = state_dict["quiet"], state_dict["seen"]
        self.before = state_dict["before"]
