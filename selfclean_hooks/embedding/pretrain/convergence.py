"""Early stopping on representation convergence: neighbours and effective rank of a sample no longer change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor, nn

from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.quality import rank_me

SAMPLED = 1000  # images that are compared
NEIGHBOURS = 10
IMAGES_PER_CHECK = 10_000  # seen between two checks
KEPT = 0.9  # share of the nearest neighbours that stay
RANK_CHANGE = 0.02


class Convergence:
    """A training has converged once the nearest neighbours and RankMe stay the same from check to check."""

    def __init__(self, recipe: Recipe) -> None:
        self.patience = recipe.patience
        self.unchanged, self.seen = 0, 0
        self.before: tuple[Tensor, float] | None = None

    @property
    def is_reached(self) -> bool:
        """Whether the training may end; never without patience."""
        return 0 < self.patience <= self.unchanged

    def check(self, network: nn.Module, data: Tensor) -> Mapping[str, float]:
        """After each epoch: compare with the last check, once enough of the (N, C, S, S) images were seen.

        Returns:
            `neighbours_kept` and `rank_me`, where there was something to compare.
        """
        self.seen += len(data)
        if not self.patience or self.seen < IMAGES_PER_CHECK:
            return {}
        self.seen = 0
        near, rank = _measure(network, data)
        before, self.before = self.before, (near, rank)
        if before is None:
            return {}
        kept = float((near[:, :, None] == before[0][:, None]).any(2).float().mean())
        is_unchanged = kept >= KEPT and abs(rank - before[1]) <= RANK_CHANGE * before[1]
        self.unchanged = self.unchanged + 1 if is_unchanged else 0
        return {"neighbours_kept": kept, "rank_me": rank}

    def state_dict(self) -> dict[str, Any]:
        """State for a resume."""
        return {"unchanged": self.unchanged, "seen": self.seen, "before": self.before}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the state of a resume."""
        self.unchanged, self.seen = state_dict["unchanged"], state_dict["seen"]
        self.before = state_dict["before"]


@torch.no_grad()
def _measure(network: nn.Module, data: Tensor) -> tuple[Tensor, float]:
    """(n, 10) nearest neighbours, RankMe."""
    device = next(network.parameters()).device
    chosen = torch.linspace(0, len(data) - 1, min(len(data), SAMPLED)).long()
    network.eval()
    parts = torch.split(data[chosen], 250)
    rows = [network(part.to(device).float() / 255).float().cpu() for part in parts]
    network.train()
    x = F.normalize(torch.cat(rows))
    near = (x @ x.T).fill_diagonal_(-2).topk(min(NEIGHBOURS, len(x) - 1)).indices
    return near, rank_me(x.numpy())
