"""The direction, its length and its gradient, against laws and slow versions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from labelsieve.training import context_vat
from labelsieve.training.context_vat import Push


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(width: int = 6, classes: int = 4) -> nn.Module:
    torch.manual_seed(1)
    layers = (nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, classes))
    return nn.Sequential(*layers).double()


def contexts(rows: int = 5, width: int = 6) -> Tensor:
    return torch.randn(rows, width, generator=chance(7), dtype=torch.float64)


def test_divergence_is_that_of_the_definition() -> None:
    p = torch.tensor([[0.2, 0.8], [0.0, 1.0]], dtype=torch.float64)
    logits = torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64)
    q = np.exp(logits.numpy())
    q /= q.sum(1, keepdims=True)
    first = 0.2 * np.log(0.2 / q[0, 0]) + 0.8 * np.log(0.8 / q[0, 1])
    wanted = torch.tensor([first, -np.log(q[1, 1])])
    assert_close(context_vat.divergence(p, logits), wanted)


def test_of_two_classes_the_direction_is_the_difference_of_their_weights() -> None:
    torch.manual_seed(0)
    head = nn.Linear(8, 2).double()
    h = torch.randn(16, 8, dtype=torch.float64)
    d = context_vat.direction(head, h, Push(probe=0.01, steps=3), chance())
    assert_close(d.norm(dim=1), torch.ones(16, dtype=torch.float64))
    difference = head.weight[1] - head.weight[0]
    cosine = d @ difference.detach() / difference.norm()
    assert cosine.abs().min() > 0.999
    sizes = [0.1, 0.3, 1.0, 3.0]
    grown = [
        float(
            context_vat.loss(head.float(), h.float(), Push(size), chance())
            .mean()
            .detach()
        )
        for size in sizes
    ]
    assert grown == sorted(grown) and grown[0] > 0


def test_many_steps_find_the_top_eigenvector() -> None:
    """KL is d'Fd / 2 for small steps, F = J'(diag(p) - pp')J."""
    head, h = net(), contexts(1)
    jacobian = torch.autograd.functional.jacobian(head, h)[0, :, 0]
    p = head(h).softmax(-1)[0].detach()
    fisher = jacobian.T @ (torch.diag(p) - p[:, None] * p) @ jacobian
    values, vectors = np.linalg.eigh(fisher.numpy())
    d = context_vat.direction(head, h, Push(probe=1e-4, steps=60), chance())[0]
    assert abs(float(d.detach() @ torch.from_numpy(vectors[:, -1].copy()))) > 0.999
    step = 1e-3 * d.detach()
    changed = context_vat.divergence(p[None], head(h + step))
    assert float(changed.detach()) == pytest.approx(0.5e-6 * values[-1], rel=1e-2)


def test_nothing_is_lost_where_nothing_changes() -> None:
    head, h = net(), contexts()
    assert (
        context_vat.loss(head.float(), h.float(), Push(0.0), chance()).abs().max()
        < 1e-6
    )
    constant: Callable[[Tensor], Tensor] = lambda x: x[:, :3] * 0.0 + 1.0  # noqa: E731
    assert context_vat.loss(constant, h.float(), Push(), chance()).abs().max() < 1e-6
    big = context_vat.loss(net().float(), 5 * h.float(), Push(), chance())
    assert (big >= 0).all() and big.isfinite().all()


def test_the_length_is_relative_and_the_same_for_every_row() -> None:
    moved: list[Tensor] = []
    linear = nn.Linear(6, 3)

    def head(x: Tensor) -> Tensor:
        moved.append(x.detach())
        return linear(x)

    h = contexts().float() * torch.arange(1, 6)[:, None]
    context_vat.loss(head, h, Push(size=0.5), chance())
    wanted = 0.5 * h.norm(dim=1).mean().expand(5)
    assert_close((moved[-1] - h).norm(dim=1), wanted)


def test_the_gradient_goes_through_the_moved_answer_alone() -> None:
    """Against finite differences of KL(p fixed || p(h + r fixed))."""
    linear, h = nn.Linear(6, 3), contexts().float().requires_grad_()
    context_vat.loss(linear, h, Push(), chance()).sum().backward()
    d = context_vat.direction(linear, h, Push(), chance())
    r = (h.norm(dim=1).mean() * d).detach().double()
    fixed = linear(h).softmax(-1).detach().double()
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()

    def naive(w: Tensor, x: Tensor) -> float:
        return float(context_vat.divergence(fixed, (x + r) @ w.T + bias).sum())

    assert linear.weight.grad is not None and h.grad is not None
    x, step = h.detach().double(), 1e-5
    for i, j in ((0, 0), (1, 4), (2, 5)):
        up, down = weight.clone(), weight.clone()
        up[i, j] += step
        down[i, j] -= step
        slope = (naive(up, x) - naive(down, x)) / (2 * step)
        assert float(linear.weight.grad[i, j]) == pytest.approx(slope, abs=1e-4)
    up, down = x.clone(), x.clone()
    up[1, 2] += step
    down[1, 2] -= step
    slope = (naive(weight, up) - naive(weight, down)) / (2 * step)
    assert float(h.grad[1, 2]) == pytest.approx(slope, abs=1e-4)


def train(weight: float) -> tuple[float, float]:
    """Clean accuracy, and the share of flipped labels that are learned by heart."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 24))
    truth = rng.integers(5, size=300)
    x = centres[truth] + 0.8 * rng.normal(size=(300, 24))
    x = torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True)).float()
    flipped = rng.random(300) < 0.4
    given = np.where(flipped, (truth + rng.integers(1, 5, size=300)) % 5, truth)
    y = torch.from_numpy(given)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 128), nn.ReLU(), nn.Linear(128, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = chance()
    for _ in range(100):
        for rows in torch.randperm(300, generator=generator).split(50):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            pushed = context_vat.loss(model, x[rows], Push(), generator).mean()
            optimizer.zero_grad()
            (loss + weight * pushed).backward()
            optimizer.step()
    answer = model(x).argmax(1).numpy()
    by_heart = float((answer == given)[flipped].mean())
    return float((answer == truth).mean()), by_heart


def test_wrong_labels_are_learned_by_heart_less() -> None:
    plain, braked = train(0.0), train(1.0)
    assert braked[0] > plain[0] + 0.05, (plain, braked)
    assert braked[1] < plain[1] - 0.2, (plain, braked)
