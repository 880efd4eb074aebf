"""Losses against their formulas, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.training import losses


def drawn(b: int = 6, k: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(b, k, generator=generator).double(), torch.randint(
        k, (b,), generator=generator
    )


def probabilities(logits: torch.Tensor) -> list[list[float]]:
    return [
        [math.exp(x) / sum(math.exp(y) for y in row) for x in row]
        for row in logits.tolist()
    ]


def test_cross_entropy() -> None:
    logits, labels = drawn()
    wanted = [
        -math.log(p[y])
        for p, y in zip(probabilities(logits), labels.tolist(), strict=True)
    ]
    assert losses.cross_entropy(logits, labels).tolist() == pytest.approx(
        wanted, rel=1e-5
    )


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.1, 6.0), (2.0, 0.0)])
def test_symmetric_cross_entropy(alpha: float, beta: float) -> None:
    """Reverse part: -Σ p log y over classes, with the zeros of the one-hot label at 1e-4."""
    logits, labels = drawn()
    wanted = []
    for p, y in zip(probabilities(logits), labels.tolist(), strict=True):
        reverse = -sum(p[k] * math.log(1.0 if k == y else 1e-4) for k in range(len(p)))
        wanted.append(-alpha * math.log(p[y]) + beta * reverse)
    assert losses.symmetric_cross_entropy(
        logits, labels, alpha, beta
    ).tolist() == pytest.approx(wanted, rel=1e-5)


def test_symmetric_cross_entropy_defaults_are_those_of_the_authors() -> None:
    logits, labels = drawn()
    wanted = losses.symmetric_cross_entropy(
        logits, labels, alpha=1.0, beta=1.0, log_zero=math.log(1e-4)
    )
    assert torch.equal(losses.symmetric_cross_entropy(logits, labels), wanted)


def test_mean_absolute_error() -> None:
    logits, labels = drawn()
    wanted = []
    for p, y in zip(probabilities(logits), labels.tolist(), strict=True):
        wanted.append(sum(abs(p[k] - (k == y)) for k in range(len(p))))
    assert losses.mean_absolute_error(logits, labels).tolist() == pytest.approx(
        wanted, rel=1e-5
    )


def test_early_learning_over_two_steps() -> None:
    """Targets are moved before they are used, from clamped probabilities, and get no gradient."""
    b, k, beta, strength = 6, 5, 0.7, 3.0
    targets, expected = torch.zeros(b, k).double(), [[0.0] * k for _ in range(b)]
    for seed in (0, 1):
        logits, labels = drawn(b, k, seed)
        logits.requires_grad_(True)
        targets = losses.early_targets(targets, logits, beta)
        result = losses.early_learning(logits, labels, targets, strength)
        wanted = []
        for i, (p, y) in enumerate(
            zip(probabilities(logits), labels.tolist(), strict=True)
        ):
            clamped = [min(max(x, 1e-4), 1 - 1e-4) for x in p]
            expected[i] = [
                beta * t + (1 - beta) * x / sum(clamped)
                for t, x in zip(expected[i], clamped, strict=True)
            ]
            alike = sum(t * x for t, x in zip(expected[i], clamped, strict=True))
            wanted.append(-math.log(p[y]) + strength * math.log(1 - alike))
        assert not targets.requires_grad
        assert result.tolist() == pytest.approx(wanted, rel=1e-5)
        assert torch.allclose(targets, torch.tensor(expected).double(), atol=1e-7)


def test_clean_probability_is_a_softmax_of_two() -> None:
    positive, negative = drawn(seed=1)[0], drawn(seed=2)[0]
    pairs = torch.stack([positive, negative], -1).double().softmax(-1)
    assert torch.allclose(
        losses.clean_probability(positive, negative).double(), pairs[..., 0], atol=1e-6
    )


def test_dual_prompt_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    p_yes = torch.rand(6, 5, generator=generator)
    target = torch.randint(5, (6,), generator=generator)
    complementary = (target + 1 + torch.randint(4, (6,), generator=generator)) % 5
    rows = zip(p_yes.tolist(), target.tolist(), complementary.tolist(), strict=True)
    wanted = [-math.log(1 - p[c]) - math.log(p[y]) for p, y, c in rows]
    assert losses.dual_prompt_loss(
        p_yes, target, complementary
    ).tolist() == pytest.approx(wanted, rel=1e-5)


def test_dual_prompt_loss_is_bounded_where_a_probability_vanishes() -> None:
    """Below 1e-5 the logarithm stays where it is and gives no gradient, as in the authors' code."""
    p_yes = torch.tensor([[1e-9, 0.5], [0.5, 1 - 1e-7]], requires_grad=True)
    loss = losses.dual_prompt_loss(p_yes, torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert loss.tolist() == pytest.approx(
        [-math.log(1e-5) - math.log(0.5)] * 2, rel=1e-5
    )
    loss.sum().backward()
    assert p_yes.grad is not None
    assert p_yes.grad[0, 0] == 0 and p_yes.grad[1, 1] == 0
    assert p_yes.grad[0, 1] == pytest.approx(2.0) and p_yes.grad[1, 0] == pytest.approx(
        -2.0
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 10, width=32), st.booleans()), min_size=1, max_size=12
    )
)
def test_selected_mean_and_its_gradient(rows: list[tuple[float, bool]]) -> None:
    values = torch.tensor([v for v, _ in rows], requires_grad=True)
    chosen = [v for v, wanted in rows if wanted]
    mean = losses.selected_mean(values, torch.tensor([wanted for _, wanted in rows]))
    assert float(mean.detach()) == pytest.approx(
        sum(chosen) / len(chosen) if chosen else 0.0, rel=1e-5, abs=1e-7
    )
    mean.backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx(
        [1 / len(chosen) if wanted else 0.0 for _, wanted in rows]
    )


class TestGeneralizedCrossEntropy:
    LOGITS = torch.randn(
        7, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])

    def test_one_is_mean_absolute_error_and_nought_is_cross_entropy(self) -> None:
        p = self.LOGITS.softmax(1).gather(1, self.LABELS[:, None])[:, 0]
        assert torch.allclose(
            losses.generalized_cross_entropy(self.LOGITS, self.LABELS, 1.0), 1 - p
        )
        assert torch.allclose(
            losses.generalized_cross_entropy(self.LOGITS, self.LABELS, 1e-4),
            -p.log(),
            atol=1e-2,
        )
        assert torch.allclose(
            losses.generalized_cross_entropy(self.LOGITS, self.LABELS, 0.7),
            (1 - p**0.7) / 0.7,
        )

    def test_its_gradient_is_that_of_cross_entropy_times_p_to_the_q(self) -> None:
        logits = self.LOGITS.clone().requires_grad_()
        p = logits.detach().softmax(1)
        losses.generalized_cross_entropy(logits, self.LABELS, 0.7).sum().backward()
        given = p.gather(1, self.LABELS[:, None])
        wanted = given**0.7 * (p - torch.nn.functional.one_hot(self.LABELS, 4))
        assert torch.allclose(logits.grad, wanted)
