"""The training of CAPro: its parts against naive ones, its rule, and what a stop leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from labelsieve.classifiers import backbone
from labelsieve.classifiers.train import train
from labelsieve.classifiers.trainers import capro
from labelsieve.classifiers.trainers.capro import (
    KEPT,
    OUTSIDE,
    RELABELLED,
    Prototyping,
)
from labelsieve.training import checkpoint
from labelsieve.training.loop import Batch, step_generator


class Killed(BaseException):
    """As when the process is stopped in the middle of a step."""


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=-1)


@pytest.fixture
def make(fitting: Callable[..., Any]) -> Callable[..., Prototyping]:
    def build(**settings: Any) -> Prototyping:
        small = {"epochs": 3, "capro_queue": 20, "capro_width": 8}
        made: Prototyping = fitting(Prototyping, **{**small, **settings})
        ids = made.images.ids.to_pylist()
        made.choose_anchors({name: i / len(ids) for i, name in enumerate(ids)})
        return made

    return build


def test_rule_of_the_page() -> None:
    opinions = torch.tensor(
        [[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.5, 0.3, 0.15, 0.05]]
    )
    labels, found = capro.verdicts(opinions, torch.tensor([1, 1, 3]), 0.6)
    assert found.tolist() == [RELABELLED, KEPT, OUTSIDE]
    assert labels.tolist() == [0, 1, 3]
    own, kept = capro.verdicts(opinions[:1], torch.tensor([0]), 0.6)
    assert kept.tolist() == [KEPT] and own.tolist() == [0]


def test_bootstrapped_labels_are_within_what_is_said_of_keys() -> None:
    said = torch.rand(5, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    keys = torch.eye(6)[:5]
    other = torch.ones(2, 5, dtype=torch.bool)
    found = capro.bootstrapped(torch.eye(6)[[2, 5]], keys, said, other)
    # one key is the picture itself, the others are orthogonal to it
    torch.testing.assert_close(found[0], said[2], atol=1e-5, rtol=1e-5)
    # nothing looks like the other one: all keys count alike
    torch.testing.assert_close(found[1], said.mean(0))
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    # its own key is no neighbour
    other[0, 2] = False
    alone = capro.bootstrapped(torch.eye(6)[[2]], keys, said, other[:1])
    torch.testing.assert_close(alone[0], said[[0, 1, 3, 4]].mean(0))


def test_contrast_is_cross_entropy_with_the_own_key_first() -> None:
    z, own, keys = unit(4, 6), unit(4, 6, seed=1), unit(7, 6, seed=2)
    other = torch.ones(4, 7, dtype=torch.bool)
    other[0, 3] = False
    found = capro.contrast(z, own, keys, other, 0.1)
    for i in range(4):
        rest = [keys[j] for j in range(7) if other[i, j]]
        scores = torch.stack([z[i] @ own[i], *[z[i] @ key for key in rest]]) / 0.1
        torch.testing.assert_close(found[i], -scores.log_softmax(0)[0])


def test_anchors_are_the_labels_that_the_scan_trusts_most(
    make: Callable[..., Prototyping],
) -> None:
    fitting = make()
    for number in range(3):
        own = fitting.rows[fitting.labels[fitting.rows] == number]
        # a tenth of fourteen; trust rises with the place in the data
        assert np.flatnonzero(fitting.anchors & (fitting.labels == number)) == own[-1:]


def test_a_step_is_the_sum_of_the_page(make: Callable[..., Prototyping]) -> None:
    fitting = make(capro_prototypes=0, capro_clean=9, capro_beta=0.3, capro_alpha=0.6)
    rows = fitting.rows[[4, 0, 9, 13, 2]]
    inputs = fitting.images.inputs(rows)
    with torch.no_grad(), backbone.features_before(fitting.head) as seen:
        logits = fitting.logits(fitting.normalised(inputs))
    v = torch.cat(seen)
    queue, queued = fitting.memory["queue"].clone(), fitting.memory["queued"].clone()
    found = fitting.loss_of(Batch(rows, 0, 0, step_generator(0, 0, 0)), inputs)
    labels, added = torch.from_numpy(fitting.labels[rows]), fitting.added
    # the first batch polished the prototypes already: begun again they are what it saw
    begun = make(capro_prototypes=0, capro_clean=9)
    begun._begin_prototypes()
    prototypes = begun.memory["prototypes"]
    own_keys = begun._encode(rows)
    total = 0.0
    for i in range(5):
        z = F.normalize(added["project"](v[i]), dim=0).detach()
        q = added["classify"](z).detach()
        other = queued != rows[i]
        u = 0.6 * added["classify"](queue).softmax(1).detach()
        u = u + 0.4 * (queue @ prototypes.T / 0.1).softmax(1)
        w = (queue @ z).clamp(0, 1) + 1e-7
        w = w * other
        b = (w / w.sum()) @ u
        near = prototypes @ z / 0.1
        y = labels[i]
        total += float(-logits[i].log_softmax(0)[y] - 0.7 * q.log_softmax(0)[y])
        total += float(-0.3 * (b * q.log_softmax(0)).sum() - near.log_softmax(0)[y])
        total += float((added["back"](z) - v[i]).square().mean().detach())
        one = torch.cat([(own_keys[i] @ z)[None], queue[other] @ z]) / 0.1
        total += float(-one.log_softmax(0)[0])
    # the slow copy has moved by a thousandth of nothing yet
    assert float(found.detach()) == pytest.approx(total / 5, rel=1e-4)
    assert torch.equal(fitting.memory["queued"][:5], torch.from_numpy(rows))
    assert int(fitting.memory["oldest"]) == 5
    lengths = fitting.memory["prototypes"].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(3))


def test_left_out_pictures_teach_nothing_and_anchors_stay(
    make: Callable[..., Prototyping],
) -> None:
    fitting = make(capro_prototypes=0, capro_clean=0, capro_sure=1.0)
    rows = fitting.rows[:6]
    fitting.anchors[:] = False
    near = torch.zeros(6, 3)
    near[:, 0] = 3.0
    logits = near.clone()
    labels = torch.tensor([0, 1, 1, 2, 0, 2])
    fitting.anchors[rows[1]] = True
    found, weight = fitting._verdict(logits, near, labels, rows)
    # o is .91 sure of class 0, which is less than 1: other labels have less than a third
    assert weight.tolist() == [1, 1, 0, 0, 1, 0]
    assert torch.equal(found, labels)
    fitting.settings.__dict__["capro_sure"] = 0.6
    changed, weight = fitting._verdict(logits, near, labels, rows)
    assert changed.tolist() == [0, 1, 0, 0, 0, 0] and weight.all()
    verdict = fitting.memory["verdict"][rows].tolist()
    assert verdict == [KEPT, KEPT, RELABELLED, RELABELLED, KEPT, RELABELLED]


def test_slow_copy_follows(make: Callable[..., Prototyping]) -> None:
    fitting = make(capro_momentum=0.75)
    quick = fitting.added["project"].weight
    before = fitting.slow_project.weight.clone()
    with torch.no_grad():
        quick.add_(1.0)
    fitting._follow()
    torch.testing.assert_close(
        fitting.slow_project.weight, 0.75 * before + 0.25 * quick.detach()
    )
    assert fitting.memory["slow_project/weight"] is not None
    torch.testing.assert_close(
        fitting.memory["slow_project/weight"], fitting.slow_project.weight.detach()
    )


def test_a_killed_one_ends_the_same(
    make: Callable[..., Prototyping], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make()
    figures = whole.run(tmp_path / "whole", "x")
    assert figures["last"]["epoch"] == 3 and whole.memory["prototypes"].any()
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(checkpoint, "COSTS_BETWEEN_CHECKPOINTS", 0.0)
    killed = make()
    real, left = killed.loss_of, [13]

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


def test_the_recipe_trains_and_says_what_it_changed(
    planted: Any, random_clip: Any, tmp_path: Path
) -> None:
    settings = {"epochs": 3, "batch_size": 16, "lr": 0.01, "val_share": 0.2}
    train(
        planted.folder,
        recipe="capro",
        use="all",
        student=str(random_clip()),
        settings=settings,
        output=tmp_path / "model",
        device="cpu",
        precision="float32",
    )
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    found = record["figures"]["capro"]
    assert found.keys() == {"relabelled", "left_out"}
    assert 0 <= sum(found.values()) <= record["samples"]["train"]
    # what CAPro adds is no part of the model that is saved
    names = load_file(tmp_path / "model" / "model.safetensors").keys()
    assert all(not name.startswith(("capro", "slow")) for name in names)
