"""Conditional transport between patches and prompts, against the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from labelsieve.methods._patches import conditional_transport, disagreement


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def naive(u: Tensor, h: Tensor, share: Tensor, t: float, forward: float) -> float:
    """Of one picture: patches u [m, d], prompts h [s, d], patch by patch."""
    there = back = 0.0
    for one in u:
        near = [
            float(s) * math.exp(t * float(one @ p))
            for s, p in zip(share, h, strict=True)
        ]
        for weight, p in zip(near, h, strict=True):
            there += weight / sum(near) * math.exp(-float(one @ p)) / len(u)
    for s, p in zip(share, h, strict=True):
        near = [math.exp(t * float(one @ p)) for one in u]
        for weight, one in zip(near, u, strict=True):
            back += float(s) * weight / sum(near) * math.exp(-float(one @ p))
    return forward * there + (1 - forward) * back


@pytest.mark.parametrize("temperature", [1.0, 10.0])
@pytest.mark.parametrize("forward", [0.0, 0.5, 1.0])
def test_the_cost_is_what_the_formulas_say(temperature: float, forward: float) -> None:
    patches, prompts = unit(3, 5, 8), unit(4, 8, seed=1)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = conditional_transport(patches, prompts, shares, temperature, forward)
    wanted = [naive(u, prompts, shares, temperature, forward) for u in patches]
    assert np.allclose(found.numpy(), wanted, atol=1e-5)
    assert (found >= math.exp(-1)).all()


def test_two_equal_points_cost_least() -> None:
    point = unit(1, 1, 8)
    found = conditional_transport(point, point, torch.ones(1))
    assert found.item() == pytest.approx(math.exp(-1), abs=1e-6)


def test_the_order_of_patches_and_prompts_is_nothing() -> None:
    patches, prompts = unit(2, 6, 8), unit(2, 3, 8, seed=1)
    shares = torch.tensor([0.5, 0.3, 0.2])
    order, turned = torch.randperm(6), torch.tensor([2, 0, 1])
    one = conditional_transport(patches, prompts, shares)
    other = conditional_transport(patches[:, order], prompts[:, turned], shares[turned])
    assert torch.allclose(one, other, atol=1e-6)


def test_only_a_sharp_plan_tells_a_prompt_that_fits_nowhere() -> None:
    """A prompt opposite to all patches: the way back tells of it, the way there leaves it out."""
    patches = unit(1, 16, 8)
    prompts = unit(3, 8, seed=2)
    opposite = F.normalize(-patches[0].mean(0, keepdim=True), dim=-1)
    more = torch.cat([prompts, opposite])

    def rise(temperature: float, forward: float) -> float:
        before, after = (
            conditional_transport(
                patches, p, torch.full((len(p),), 1 / len(p)), temperature, forward
            ).item()
            for p in (prompts, more)
        )
        return after - before

    assert abs(rise(20.0, 1.0)) < rise(1.0, 1.0)


def planted(seed: int = 0) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Bags of 16 patches, four of which show the class; a third of the labels are wrong."""
    rng = np.random.default_rng(seed)
    classes = unit(5, 32, seed=3)
    truth = rng.integers(0, 5, 200)
    noise = torch.from_numpy(rng.standard_normal((200, 16, 32)).astype(np.float32))
    noise[:, :4] = 6 * classes[truth][:, None] + 0.5 * noise[:, :4]
    wrong = rng.random(200) < 0.33
    given = np.where(wrong, (truth + rng.integers(1, 5, 200)) % 5, truth)
    return F.normalize(noise, dim=-1), classes, truth, given


@pytest.mark.parametrize("temperature", [1.0, 10.0, 50.0])
def test_wrong_labels_cost_more(temperature: float) -> None:
    patches, classes, truth, given = planted()
    cost = conditional_transport(
        patches, classes[given][:, None], torch.ones(1), temperature
    ).numpy()
    wrong = truth != given
    assert (cost[wrong][:, None] > cost[~wrong][None]).mean() > 0.95


def test_the_map_is_hot_where_the_other_class_is_seen() -> None:
    patches, classes, truth, given = planted()
    wrong = truth != given
    heat = disagreement(
        patches[wrong], classes[given[wrong]], classes[truth[wrong]], 10.0
    )
    assert heat[:, :4].min() > 0.9 > heat[:, 4:].mean() + 0.3
    same = disagreement(patches, classes[given], classes[given], 10.0)
    assert torch.equal(same, torch.full_like(same, 0.5))
