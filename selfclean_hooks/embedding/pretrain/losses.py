"""Losses of self-supervised training, and the networks that bring features to where they are compared.

Own code that follows the papers: the packages that have all of them bring configuration frameworks and a parser that is
built from source, for what is done in these lines.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor, distributed, nn

TEMPERATURE = 0.1  # of SimCLR
REDUNDANCY = 5e-3  # weight of Barlow Twins' second term
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # weights of VICReg's terms
TEACHER_TEMPERATURE, STUDENT_TEMPERATURE, CENTER_MOMENTUM = 0.04, 0.1, 0.9  # of DINO


def simclr_loss(first: Tensor, second: Tensor, gather: bool) -> Tensor:
    """NT-Xent (Chen et al., 2020): a view's other view is to be found among all others of the batch.

    Args:
        first: (B, D) projections of one view of each image.
        second: (B, D) of the other.
        gather: whether other processes hold more of the batch.
    """
    n, (first, second) = len(first), (F.normalize(first), F.normalize(second))
    every_first, every_second = (_of_all(x, gather) for x in (first, second))
    own = torch.arange(n, device=first.device) + n * (distributed.get_rank() if _are_several(gather) else 0)
    is_other = torch.ones(n, len(every_first), dtype=torch.bool, device=first.device)
    is_other[torch.arange(n), own] = False

    def logits(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("nd,md->nm", x, y) / TEMPERATURE

    within_first, across = logits(first, every_first), logits(first, every_second)
    back, within_second = logits(second, every_first), logits(second, every_second)
    of_first = torch.cat([across, within_first[is_other].view(n, -1)], 1)
    of_second = torch.cat([back, within_second[is_other].view(n, -1)], 1)
    return F.cross_entropy(torch.cat([of_first, of_second]), own.repeat(2))


def barlow_twins_loss(first: Tensor, second: Tensor, gather: bool) -> Tensor:
    """Barlow Twins (Zbontar et al., 2021): the correlations of the features of two views are the identity matrix.

    See `simclr_loss` for the arguments.
    """
    first, second = (F.batch_norm(x, None, None, training=True) for x in (first, second))
    correlations = _of_all((first.T @ second / len(first))[None], gather).mean(0)
    is_diagonal = torch.eye(len(correlations), dtype=torch.bool, device=first.device)
    redundant = correlations[~is_diagonal].square().sum()
    return (correlations.diagonal() - 1).square().sum() + REDUNDANCY * redundant


def vicreg_loss(first: Tensor, second: Tensor, gather: bool) -> Tensor:
    """VICReg (Bardes et al., 2022): two views are alike, each feature varies, and no two features vary together.

    See `simclr_loss` for the arguments.
    """
    invariance = F.mse_loss(first, second)
    first, second = (_of_all(x, gather) for x in (first, second))
    variance = (_too_constant(first) + _too_constant(second)) / 2
    return INVARIANCE * invariance + VARIANCE * variance + COVARIANCE * (_covariance(first) + _covariance(second))


def _too_constant(x: Tensor) -> Tensor:
    """How much the standard deviations of the features fall short of 1."""
    return F.relu(1 - (x.var(0) + 1e-4).sqrt()).mean()


def _covariance(x: Tensor) -> Tensor:
    """Squared covariances of different features."""
    x = x - x.mean(0)
    covariances = x.T @ x / (len(x) - 1)
    is_diagonal = torch.eye(len(covariances), dtype=torch.bool, device=x.device)
    return covariances[~is_diagonal].square().sum() / len(covariances)


class DinoLoss(nn.Module):
    """DINO (Caron et al., 2021): the student predicts from each view what the teacher makes of the other.

    The teacher's outputs are centred by a running mean, so that no single one of them wins everywhere.
    """

    def __init__(self, outputs: int, gather: bool) -> None:
        super().__init__()
        self.gather = gather
        self.center: Tensor
        self.register_buffer("center", torch.zeros(outputs))

    def forward(self, teacher: Tensor, student: Tensor) -> Tensor:
        """The loss of the outputs (2, B, D) of both for two views; the center moves on."""
        wanted = F.softmax((teacher - self.center) / TEACHER_TEMPERATURE, -1)
        predicted = F.log_softmax(student / STUDENT_TEMPERATURE, -1)
        mean = _of_all(teacher.mean((0, 1))[None], self.gather).mean(0)
        self.center = self.center * CENTER_MOMENTUM + mean * (1 - CENTER_MOMENTUM)
        crossed = torch.einsum("tbd,sbd->ts", wanted, predicted)
        return -(crossed[0, 1] + crossed[1, 0]) / (2 * teacher.shape[1])


class Projection(nn.Module):
    """Linear layers of these widths, all but the last with batch norm and an activation after them."""

    def __init__(self, *widths: int, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), activation()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, first width) to (B, last width)."""
        projected: Tensor = self.layers(x)
        return projected


class DinoHead(Projection):
    """DINO's projection, and the cosine of what comes of it with each of its prototypes."""

    def __init__(self, dim: int, prototypes: int) -> None:
        super().__init__(dim, 512, 512, 128, activation=nn.GELU)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):  # N(0, 0.02^2), by the inverse of its distribution
                layer.weight.data.uniform_(-1, 1).erfinv_().mul_(0.02 * math.sqrt(2)).clamp_(-2, 2)
        self.layers[-1].bias.data.zero_()  # type: ignore[operator]
        self.prototypes = nn.Linear(128, prototypes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, prototypes)."""
        return F.linear(F.normalize(super().forward(x)), F.normalize(self.prototypes.weight))


def _of_all(x: Tensor, gather: bool) -> Tensor:
    """(W B, ...): the (B, ...) tensors of the W processes one after the other; x itself without others or `gather`."""
    every: Tensor = _Gather.apply(x) if _are_several(gather) else x
    return every


def _are_several(gather: bool) -> bool:
    return gather and distributed.is_available() and distributed.is_initialized()


class _Gather(torch.autograd.Function):
    """Tensors of all processes, through which gradients flow back to each."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        every = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(every, x.contiguous())
        return torch.cat(every)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Any:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]
