"""Losses of self-supervised training beside their formulas, term by term, and between two processes."""

import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from selfclean_hooks.embedding.pretrain.losses import (
    DinoHead,
    DinoLoss,
    Projection,
    barlow_twins_loss,
    simclr_loss,
    vicreg_loss,
)
from selfclean_hooks.embedding.pretrain.networks import Network, network_of
from selfclean_hooks.embedding.pretrain.objectives import Mae, patches_of

Loss = Callable[[Tensor, Tensor, bool], Tensor]


def views(n: int = 6, dim: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=draw), torch.randn(n, dim, generator=draw) + 0.5


def slow_simclr(first: Tensor, second: Tensor) -> float:
    every, n = [*first, *second], len(first)
    terms = []
    for i, x in enumerate(every):
        likeness = {j: math.exp(float(torch.cosine_similarity(x, y, 0)) / 0.1) for j, y in enumerate(every) if j != i}
        terms.append(-math.log(likeness[(i + n) % (2 * n)] / sum(likeness.values())))
    return sum(terms) / len(terms)


def slow_barlow_twins(first: Tensor, second: Tensor) -> float:
    a, b = ((x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in (first, second))
    total = 0.0
    for i in range(a.shape[1]):
        for j in range(a.shape[1]):
            correlation = float((a[:, i] * b[:, j]).mean())
            total += (correlation - 1) ** 2 if i == j else 5e-3 * correlation**2
    return total


def slow_vicreg(first: Tensor, second: Tensor) -> float:
    dim = first.shape[1]
    total = 25 * float(((first - second) ** 2).mean())
    for x in (first, second):
        covariance = torch.cov(x.T)
        total += 12.5 * sum(max(0.0, 1 - math.sqrt(float(covariance[i, i]) + 1e-4)) for i in range(dim)) / dim
        total += sum(float(covariance[i, j]) ** 2 for i in range(dim) for j in range(dim) if i != j) / dim
    return total


LOSSES: list[tuple[Loss, Callable[[Tensor, Tensor], float]]] = [
    (simclr_loss, slow_simclr),
    (barlow_twins_loss, slow_barlow_twins),
    (vicreg_loss, slow_vicreg),
]


@pytest.mark.parametrize(("fast", "slow"), LOSSES)
@pytest.mark.parametrize("shape", [(6, 5), (2, 3), (9, 2)])
def test_a_loss_is_its_formula(fast: Loss, slow: Callable[[Tensor, Tensor], float], shape: tuple[int, int]) -> None:
    assert float(fast(*views(*shape), False)) == pytest.approx(slow(*views(*shape)), rel=1e-4)


def test_dino_is_its_formula_and_its_center_follows_the_teacher() -> None:
    loss, center = DinoLoss(5, gather=False), torch.zeros(5)
    for seed in range(3):
        teacher, student = torch.stack(views(seed=seed)), torch.stack(views(seed=seed + 10))
        total = 0.0
        for view in (0, 1):
            for sample in range(6):
                wanted = ((teacher[view, sample] - center) / 0.04).softmax(0)
                total -= float(wanted @ (student[1 - view, sample] / 0.1).log_softmax(0)) / 12
        assert float(loss(teacher, student)) == pytest.approx(total, rel=1e-4)
        center = 0.9 * center + 0.1 * teacher.flatten(0, 1).mean(0)
        torch.testing.assert_close(loss.center, center)


def test_projections_have_their_layers_and_prototypes_count_by_direction() -> None:
    assert [type(layer).__name__ for layer in Projection(3, 4, 5).layers] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    head = DinoHead(8, 20).eval()
    x = torch.randn(4, 8)
    cosines = head(x)
    assert cosines.shape == (4, 20)
    assert bool((cosines.abs() <= 1 + 1e-6).all())
    head.prototypes.weight.data *= 7
    torch.testing.assert_close(head(x), cosines)
    assert 0.01 < float(next(head.layers.parameters()).detach().std()) < 0.03


def small_vit() -> Network:
    return network_of("small-vit", "random", torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), 28)


def test_patches_are_taken_row_by_row() -> None:
    x = torch.randn(2, 3, 12, 12)
    patches = patches_of(x, 4)
    assert patches.shape == (2, 9, 48)
    for row in range(3):
        for column in range(3):
            part = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(patches[:, 3 * row + column], part.permute(0, 2, 3, 1).flatten(1))


def test_mae_encodes_what_is_shown_alone() -> None:
    mae = Mae(small_vit()).eval()
    x = torch.randn(2, 3, 28, 28)
    every = torch.arange(mae.count).expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(mae.encode(x, every), mae.network.trunk.forward_features(x))  # type: ignore[operator]
        shown = torch.tensor([[0, 5, 9], [3, 1, 2]])
        codes = mae.encode(x, shown)
        assert codes.shape == (2, 3, mae.network.dim)
        other = x.clone()
        other[0, :, -4:, -4:] += 9  # the last patch, which is hidden
        assert torch.equal(mae.encode(other, shown), codes)
        other[0, :, :4, :4] += 9  # the first, which is shown
        assert not torch.allclose(mae.encode(other, shown), codes)


def part_of(rank: int, file: Path) -> None:
    """Losses and gradients of half a batch, while another process has the other half."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    answers = []
    for loss, _ in LOSSES:
        first, second = (x.chunk(2)[rank].clone().requires_grad_() for x in views())
        value = loss(first, second, True)
        value.backward()  # type: ignore[no-untyped-call]
        answers.append((value.detach(), first.grad, second.grad))
    dino = DinoLoss(5, gather=True)
    dino(*(torch.stack([x.chunk(2)[rank] for x in views(seed=seed)]) for seed in (0, 1)))
    torch.save((answers, dino.center), f"{file}.{rank}")
    distributed.destroy_process_group()


def test_two_processes_compare_with_the_whole_batch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    parts = [context.Process(target=part_of, args=(rank, tmp_path / "meeting")) for rank in (0, 1)]
    for part in parts:
        part.start()
    for part in parts:
        part.join(60)
    (one, center), (other, center_of_other) = (torch.load(tmp_path / f"meeting.{rank}") for rank in (0, 1))
    whole = DinoLoss(5, gather=False)
    whole(torch.stack(views()), torch.stack(views(seed=1)))
    torch.testing.assert_close(center, whole.center)
    assert torch.equal(center, center_of_other)
    for at, (loss, _) in enumerate(LOSSES):
        first, second = (x.clone().requires_grad_() for x in views())
        value = loss(first, second, False)
        value.backward()  # type: ignore[no-untyped-call]
        mean = (one[at][0] + other[at][0]) / 2
        if loss is barlow_twins_loss:  # each process normalizes its own half
            halves = zip(*(x.chunk(2) for x in views()), strict=True)
            a, b = (torch.stack(half) for half in zip(*halves, strict=True))
            normal = [[(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in half] for half in (a, b)]
            both = sum(p.T @ q / 3 for p, q in zip(*normal, strict=True)) / 2
            off = both - torch.diag(both.diagonal())
            wanted = (both.diagonal() - 1).square().sum() + 5e-3 * off.square().sum()
            torch.testing.assert_close(mean, wanted)
            continue
        torch.testing.assert_close(mean, value.detach())
        for x, parts_of_x in ((first, (one[at][1], other[at][1])), (second, (one[at][2], other[at][2]))):
            # gradients of the processes' losses are summed where they were gathered, and averaged by DDP
            torch.testing.assert_close(torch.cat(parts_of_x) / 2, x.grad, rtol=1e-3, atol=1e-6)
