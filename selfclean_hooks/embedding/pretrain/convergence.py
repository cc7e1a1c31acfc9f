"""Early stopping on representation convergence: neighbours and effective rank of a sample no longer change."""

from __future__ import annotations

from typing import Any

import lightning as L  # noqa: N812, its own name
import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.quality import rank_me

SAMPLED = 1000  # images that are compared
NEIGHBOURS = 10
IMAGES_PER_CHECK = 10_000  # seen between two checks
KEPT = 0.9  # share of the nearest neighbours that stay
RANK_CHANGE = 0.02


class Convergence(L.Callback):
    """Ends a training once the nearest neighbours and RankMe stay the same from check to check."""

    def __init__(self, recipe: Recipe) -> None:
        self.patience = recipe.patience
        self.unchanged, self.seen = 0, 0
        self.before: tuple[Tensor, float] | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compare with the last check, once enough images were seen."""
        self.seen += len(pl_module.data[0])
        if self.seen < IMAGES_PER_CHECK:
            return
        self.seen = 0
        near, rank = self._measure(pl_module)
        if self.before is not None:
            kept = float((near[:, :, None] == self.before[0][:, None]).any(2).float().mean())
            if trainer.logger is not None:
                pl_module.log_dict({"neighbours_kept": kept, "rank_me": rank}, sync_dist=True)
            is_unchanged = kept >= KEPT and abs(rank - self.before[1]) <= RANK_CHANGE * self.before[1]
            self.unchanged = self.unchanged + 1 if is_unchanged else 0
        self.before = near, rank
        if self.unchanged >= self.patience:
            trainer.should_stop = True

    @torch.no_grad()
    def _measure(self, training: Any) -> tuple[Tensor, float]:
        """(n, 10) nearest neighbours, RankMe."""
        data, network = training.data[0], training.objective.network
        chosen = torch.linspace(0, len(data) - 1, min(len(data), SAMPLED)).long()
        network.eval()
        rows = [network(part.to(training.device).float() / 255).float().cpu() for part in data[chosen].split(250)]
        network.train()
        x = F.normalize(torch.cat(rows))
        near = (x @ x.T).fill_diagonal_(-2).topk(min(NEIGHBOURS, len(x) - 1)).indices
        return near, rank_me(x.numpy())

    def state_dict(self) -> dict[str, Any]:
        """State for a resume."""
        return {"unchanged": self.unchanged, "seen": self.seen, "before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a resume."""
        self.unchanged, self.seen = state_dict["unchanged"], state_dict["seen"]
        self.before = state_dict["before"]
