"""A memory of regions: read, written and filtered as the formulas say, and it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labelsieve.classifiers import backbone
from labelsieve.classifiers.trainers import memory
from labelsieve.classifiers.trainers.memory import Remembering
from labelsieve.errors import OptionError
from labelsieve.training import checkpoint
from labelsieve.training.loop import Batch, step_generator


class Killed(BaseException):
    """As when the process is stopped in the middle of a step."""


@pytest.fixture
def make(fitting: Callable[..., Any]) -> Callable[..., Remembering]:
    def build(**settings: Any) -> Remembering:
        small = {"epochs": 2, "memory_per_class": 3, "warmup_epochs": 0}
        made: Remembering = fitting(Remembering, **{**small, **settings})
        return made

    return build


def test_what_is_read_is_the_vote_of_others_naively() -> None:
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(9, 4, generator=generator), dim=1)
    labels = torch.randint(0, 3, (9,), generator=generator)
    prototypes = features[:4]
    own = memory.nearest(features, prototypes)
    votes = torch.zeros(4, 3)
    for i in range(9):
        votes[own[i], labels[i]] += 1
    frequencies = torch.full((3,), 1 / 3)
    weights = (features @ prototypes.T / 0.1).softmax(1)
    own[0] = -1
    found = memory.soft_labels(weights, votes, own, labels, frequencies)
    for i in range(9):
        wanted = torch.zeros(3)
        for j in range(4):
            counted = votes[j].clone()
            # the first image did not vote
            if i and j == own[i]:
                counted[labels[i]] -= 1
            counted = counted + memory.PRIOR * frequencies
            wanted += weights[i, j] * counted / counted.sum()
        torch.testing.assert_close(found[i], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.sum(1), torch.ones(9))


def test_a_region_of_ones_own_knows_only_the_frequencies() -> None:
    """With a vote for itself every label would be trusted."""
    eye = torch.eye(3)
    found = memory.soft_labels(
        eye, eye, torch.arange(3), torch.arange(3), torch.tensor([0.5, 0.3, 0.2])
    )
    wanted = torch.tensor([0.5, 0.3, 0.2]).expand(3, 3)
    torch.testing.assert_close(found, wanted)


def test_prototypes_move_as_single_writes_would_move_them() -> None:
    generator = torch.Generator().manual_seed(1)
    prototypes = F.normalize(torch.randn(2, 4, generator=generator), dim=1)
    same = F.normalize(torch.randn(1, 4, generator=generator), dim=1).expand(3, 4)
    found = memory.written(prototypes, same, torch.zeros(3, dtype=torch.int64), 0.9)
    moved = prototypes[0]
    for z in same:
        moved = 0.9 * moved + 0.1 * z
    torch.testing.assert_close(found[0], F.normalize(moved, dim=0))
    torch.testing.assert_close(found[1], prototypes[1])


def test_a_step_is_the_formula(make: Callable[..., Remembering]) -> None:
    fitting = make(memory_refine=0.7, memory_denoise=0.3, memory_keep=0.8)
    rows = fitting.rows[[4, 0, 9, 13, 2]]
    inputs = fitting.images.inputs(rows)
    with torch.no_grad(), backbone.features_before(fitting.head) as seen:
        logits = fitting.logits(fitting.normalised(inputs))
    x = torch.cat(seen)
    kept = {name: t.clone() for name, t in fitting.memory.items()}
    found = fitting.loss_of(Batch(rows, 0, 0, step_generator(0, 0, 0)), inputs)
    labels = torch.from_numpy(fitting.labels[rows])
    total, trusted = 0.0, 0
    for i in range(5):
        z = x[i] / x[i].norm()
        w = (z @ kept["regions"].T / 0.1).softmax(0)
        r = memory.soft_labels(
            w[None],
            kept["votes"],
            kept["voted"][rows[i : i + 1]],
            labels[i : i + 1],
            fitting.frequencies,
        )[0]
        log_p = logits[i].log_softmax(0)
        g = float(r[labels[i]] / r.max() > 0.8)
        trusted += int(g)
        told = w @ kept["regions"]
        told = told / told.norm() * x[i].norm()
        log_told = fitting.head(told).log_softmax(0).detach()
        total += float(-g * log_p[labels[i]] + 0.7 * (r * (r.log() - log_p)).sum())
        total += float(-0.3 * (r * log_told).sum())
    assert 0 < trusted < 5, "all are treated alike: this test sees nothing"
    assert float(found.detach()) == pytest.approx(total / 5, rel=1e-4)
    changed = fitting.memory["next_votes"].sum()
    assert changed == 5 and not torch.equal(fitting.memory["regions"], kept["regions"])
    torch.testing.assert_close(fitting.memory["votes"], kept["votes"])


def test_votes_are_read_an_epoch_later(
    make: Callable[..., Remembering], tmp_path: Path
) -> None:
    fitting = make(epochs=1)
    before = fitting.memory["votes"].clone()
    assert before.sum() == len(fitting.rows)
    fitting.run(tmp_path, "x")
    after = fitting.memory["votes"]
    assert after.sum() == len(fitting.rows) and not fitting.memory["next_votes"].any()
    voted = fitting.memory["voted"][fitting.rows]
    naive = torch.zeros_like(after)
    for region, label in zip(voted, fitting.labels[fitting.rows], strict=True):
        naive[region, label] += 1
    torch.testing.assert_close(after, naive)
    held = np.flatnonzero(fitting.part == "validation")
    assert (fitting.memory["voted"][held] == -1).all()


def test_warm_up_is_plain_training(
    make: Callable[..., Remembering], tmp_path: Path
) -> None:
    fitting = make(warmup_epochs=1)
    rows = fitting.rows[:5]
    inputs = fitting.images.inputs(rows)
    with torch.no_grad():
        logits = fitting.logits(fitting.normalised(inputs))
    labels = torch.from_numpy(fitting.labels[rows])
    found = fitting.loss_of(Batch(rows, 0, 0, step_generator(0, 0, 0)), inputs)
    torch.testing.assert_close(found.detach(), F.cross_entropy(logits, labels))
    later = fitting.loss_of(Batch(rows, 1, 0, step_generator(0, 0, 0)), inputs)
    assert not torch.isclose(found, later)


def test_a_killed_one_ends_the_same(
    make: Callable[..., Remembering], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make()
    whole.run(tmp_path / "whole", "x")
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(checkpoint, "COSTS_BETWEEN_CHECKPOINTS", 0.0)
    killed = make()
    real, left = killed.loss_of, [8]

    def dies(*words: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*words)

    killed.loss_of = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        killed.run(tmp_path / "killed", "x")
    again = make()
    again.run(tmp_path / "killed", "x")
    for name, tensor in whole.memory.items():
        assert torch.equal(tensor, again.memory[name]), name


def test_what_has_no_single_head_is_refused(
    make: Callable[..., Remembering], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = make().backbone
    object.__setattr__(built, "linear", None)
    from labelsieve.classifiers.trainers import need_head

    with pytest.raises(OptionError, match="one linear layer"):
        need_head(built, "--loss memory")
