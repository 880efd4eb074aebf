"""One training of one backbone: its losses and weights, the epoch that is kept, and that a
killed one ends the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from labelsieve import progress
from labelsieve.classifiers import backbone
from labelsieve.classifiers.fine_tuning import Fitting, Validation
from labelsieve.classifiers.objective import LOSSES, Objective
from labelsieve.classifiers.recipe import Settings
from labelsieve.errors import LabelsieveError, OptionError, RunError
from labelsieve.estimation import mixture
from labelsieve.features import probe
from labelsieve.tables import SAMPLES
from labelsieve.training import checkpoint, losses, selection
from labelsieve.training.loop import Batch, step_generator

PLAIN = {"crop": 1.0, "mirror": False}
N = 24


class Killed(BaseException):
    """As when the process is stopped in the middle of a step."""


@pytest.fixture
def make(
    labelled: Callable[..., Any], random_classifier: Any, random_clip: Any
) -> Callable[..., Fitting]:
    """A fitting of a fresh backbone on 24 pictures of three classes, each class of its own
    brightness; a quarter validates.
    """
    rng = np.random.default_rng(0)
    names = ["a", "b", "c"] * (N // 3)
    shade = np.array([60 if y == "a" else 128 if y == "b" else 200 for y in names])[
        :, None, None, None
    ]
    drawn = (shade + rng.integers(-50, 50, (N, 16, 16, 3))).astype(np.uint8)
    kept: dict[str, Any] = {}

    def build(
        kind: str = "vit",
        loss: str = "ce",
        divides: bool = False,
        weights: Any = None,
        dropout: float = 0.0,
        **settings: Any,
    ) -> Fitting:
        folder = random_clip() if kind == "clip" else random_classifier(kind, dropout)
        built = backbone.build(
            str(folder), ["a", "b", "c"], seed=1, device=torch.device("cpu")
        )
        if kind not in kept:
            kept[kind] = labelled(built.preprocess, drawn, names)
        images = kept[kind]
        part = ["validation" if i % 4 == 3 else "train" for i in range(N)]
        weight = np.ones(N) if weights is None else weights
        given = [images.classes[k] for k in images.labels]
        rows = pa.table(
            [images.ids, given, given, weight, ["clean"] * N, part], schema=SAMPLES
        )
        order = np.random.default_rng(3).permutation(N)  # joined by id, not by position
        defaults: dict[str, Any] = {"epochs": 3, "batch_size": 8, "lr": 0.05}
        defaults |= {"weight_decay": 0.0, "head_start": "random"}
        return Fitting(
            built,
            images,
            rows.take(order),
            Settings(**{**defaults, **settings}),
            Objective(loss, divides),
            7,
        )

    return build


def weights_of(fitting: Fitting) -> dict[str, torch.Tensor]:
    return {
        name: t.detach().clone()
        for name, t in fitting.backbone.model.state_dict().items()
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


FORMULAS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ce": lambda p, y: -p.gather(1, y[:, None])[:, 0].log(),
    "sce": lambda p, y: (
        -0.5 * p.gather(1, y[:, None])[:, 0].log()
        + 2 * -np.log(1e-4) * (1 - p.gather(1, y[:, None])[:, 0])
    ),
    "gce": lambda p, y: (1 - p.gather(1, y[:, None])[:, 0] ** 0.4) / 0.4,
    "mae": lambda p, y: 2 * (1 - p.gather(1, y[:, None])[:, 0]),
}
CHANGED = {
    "sce_alpha": 0.5,
    "sce_beta": 2.0,
    "gce_q": 0.4,
    "elr_momentum": 0.6,
    "elr_strength": 4.0,
}


@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_step_is_the_weighted_mean_of_the_loss(
    make: Callable[..., Fitting], loss: str
) -> None:
    """By the formula, with its settings, and with weights whose mean over the training set
    is one.
    """
    weights = np.random.default_rng(1).uniform(0.1, 1, N)
    fitting = make(loss=loss, weights=weights, **PLAIN, **CHANGED)
    rows = fitting.rows[[4, 0, 9, 13, 2]]
    with torch.no_grad():
        probs = fitting.logits(fitting.normalised(fitting.images.inputs(rows))).softmax(
            1
        )
    labels = torch.from_numpy(fitting.labels[rows])
    if loss == "elr":
        clamped = probs.clamp(1e-4, 1 - 1e-4)
        targets = torch.zeros(5, 3)
        each = torch.zeros(5)
        for _ in range(2):
            targets = 0.6 * targets + 0.4 * clamped / clamped.sum(1, keepdim=True)
            each = (
                FORMULAS["ce"](probs, labels)
                + 4 * (1 - (targets * clamped).sum(1)).log()
            )
        fitting.loss_of(
            Batch(rows, 0, 0, step_generator(0, 0, 0)), fitting.images.inputs(rows)
        )
    else:
        each = FORMULAS[loss](probs, labels)
    found = fitting.loss_of(
        Batch(rows, 0, 0, step_generator(0, 0, 0)), fitting.images.inputs(rows)
    )
    scaled = torch.from_numpy(weights / weights[fitting.rows].mean()).float()
    wanted = float((each * scaled[rows]).mean().detach())
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-4)


def test_parts_of_a_batch_and_recomputed_activations_change_nothing(
    make: Callable[..., Fitting], tmp_path: Path, distance: Any
) -> None:
    weights = np.random.default_rng(1).uniform(0.1, 1, N)
    ends = []
    for number, how in enumerate(({}, {"accumulate": 3}, {"checkpointing": True})):
        fitting = make("clip", weights=weights, lr=0.02, epochs=2, **PLAIN, **how)
        fitting.run(tmp_path / str(number), "x")
        ends.append(weights_of(fitting))
    assert all(distance(ends[k][n], ends[0][n]) < 1e-4 for k in (1, 2) for n in ends[0])
    assert (
        distance(
            ends[0]["classifier.weight"], make("clip").backbone.model.classifier.weight
        )
        > 0.01
    )


def test_checkpointing_where_it_is_not_supported(make: Callable[..., Fitting]) -> None:
    with pytest.raises(OptionError, match="checkpointing is not supported by ResNet"):
        make("resnet", checkpointing=True)


def test_validation_images_and_weightless_ones_teach_nothing(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    fitting, seen = make(**PLAIN), []
    real = fitting.loss_of
    fitting.loss_of = lambda batch, loaded: (
        seen.extend(batch.rows.tolist()) or real(batch, loaded)
    )  # type: ignore[method-assign]
    fitting.run(tmp_path, "x")
    assert (
        sorted(set(seen)) == fitting.rows.tolist() and len(fitting.rows) == N * 3 // 4
    )


def test_the_kept_epoch_is_the_best_one(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    """By accuracy, then loss; the saved weights are that epoch's; the last ones can be
    kept instead.
    """
    fitting = make(epochs=6, lr=0.3, schedule="constant")
    figures = fitting.run(tmp_path / "a", "x")
    best = min(
        figures["history"], key=lambda e: (-e["accuracy"], e["loss"], e["epoch"])
    )
    assert best["epoch"] < 6, "the last epoch is the best one: this test sees nothing"
    assert figures["chosen"]["epoch"] == best["epoch"] and figures["last"]["epoch"] == 6
    held = np.flatnonzero(fitting.part == "validation")
    right, loss = fitting.validate(Validation(fitting.images, held, fitting.labels))
    found = (right.mean(), loss)
    assert found == pytest.approx((best["accuracy"], best["loss"]), abs=1e-6)
    # the tests between epochs see the answers of each of them
    assert figures["held_out"]["models"][0]["model"] == f"epoch {best['epoch']}"
    said = {m["model"]: m["noisy_accuracy"] for m in figures["held_out"]["models"]}
    for epoch in (figures["chosen"], figures["last"], figures["history"][0]):
        assert said[f"epoch {epoch['epoch']}"] == pytest.approx(epoch["accuracy"])
    other = make(epochs=6, lr=0.3, schedule="constant", keep="last")
    assert other.run(tmp_path / "b", "x")["kept"] == "last"
    right, loss = other.validate(Validation(other.images, held, other.labels))
    assert (right.mean(), loss) == pytest.approx(
        (figures["history"][-1]["accuracy"], figures["history"][-1]["loss"]), abs=1e-6
    )


def test_patience_ends_it(make: Callable[..., Fitting], tmp_path: Path) -> None:
    figures = make(epochs=6, lr=0.0, patience=2).run(tmp_path, "x")
    assert [e["epoch"] for e in figures["history"]] == [0, 1, 2] and figures["chosen"][
        "epoch"
    ] == 0


@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_a_head_begins_as_logistic_regression_on_what_it_is_given(
    make: Callable[..., Fitting], tmp_path: Path, kind: str
) -> None:
    """And is what is kept where training makes it worse."""
    fitting = make(kind, head_start="probe", lr=30.0, epochs=2)
    begun = weights_of(fitting)
    head = fitting.backbone.linear
    assert head is not None
    with backbone.features_before(head) as seen:
        fitting.probabilities(fitting.images, fitting.rows)
    x, y = torch.cat(seen).numpy(), fitting.labels[fitting.rows]
    weight, bias = probe.linear(x, y, 3, 7)
    np.testing.assert_allclose(head.weight.detach().numpy(), weight, rtol=1e-4)
    np.testing.assert_allclose(head.bias.detach().numpy(), bias, rtol=1e-3, atol=1e-5)
    figures = fitting.run(tmp_path, "x")
    assert figures["chosen"]["epoch"] == 0 and figures["last"]["epoch"] == 2
    assert same(weights_of(fitting), begun)


def test_a_classifier_that_knows_nothing_is_said_to(
    make: Callable[..., Fitting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(selection.progress, "note", said.append)
    fitting = make(lr=0.0)
    held = np.flatnonzero(fitting.part == "validation")
    fitting.labels[held] = np.arange(len(held)) % 3
    fitting.run(tmp_path, "x")
    assert len(said) == 1 and "the most frequent class" in said[0]


def test_no_epochs_and_no_validation(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    fitting = make(epochs=0)
    before = weights_of(fitting)
    figures = fitting.run(tmp_path / "a", "x")
    assert (
        figures["last"]["epoch"] == 0
        and figures["chosen"] is None
        and same(weights_of(fitting), before)
    )
    fitting = make(epochs=1)
    fitting.part[:] = "train"
    figures = fitting.run(tmp_path / "b", "x")
    assert (
        figures["last"] is None
        and figures["kept"] == "last"
        and not same(weights_of(fitting), before)
    )


def test_gmm_learns_from_the_lower_losses(make: Callable[..., Fitting]) -> None:
    fitting = make(divides=True)
    fitting.divide()
    with torch.no_grad():
        logits = fitting.logits(fitting.normalised(fitting.images.inputs(fitting.rows)))
    each = (
        losses.cross_entropy(logits, torch.from_numpy(fitting.labels[fitting.rows]))
        .double()
        .numpy()
    )
    clean = mixture.upper_cluster(-each, 7) > 0.5
    weight = fitting.memory["weight"][fitting.rows].numpy()
    assert 0 < clean.sum() < len(clean) and each[clean].max() < each[~clean].min()
    assert weight.tolist() == pytest.approx((clean / clean.mean()).tolist(), rel=1e-6)


def test_gmm_divides_after_the_warm_up(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    fitting, times = make(divides=True, warmup_epochs=2, epochs=4), []
    # type: ignore[method-assign]
    real, fitting.divide = fitting.divide, lambda: times.append(1) or real()
    figures = fitting.run(tmp_path, "x")
    assert len(times) == 2 and 0 < figures["selected"] <= len(fitting.rows)


HOWS = [
    pytest.param({"kind": "resnet", "loss": "elr"}, id="batch-norm and elr"),
    pytest.param(
        {"kind": "vit", "dropout": 0.3, "divides": True, "accumulate": 2},
        id="dropout and gmm",
    ),
]


@pytest.mark.parametrize("how", HOWS)
def test_killed_and_continued_is_uninterrupted(
    make: Callable[..., Fitting],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
) -> None:
    """Bit by bit, with running means, targets of ELR, weights of the mixture and the best
    epoch; killed twice.
    """
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = make(**how)
    figures = whole.run(tmp_path / "whole", "x")
    for kill in (4, 2, None):
        fitting, steps = make(**how), set()
        real = fitting.loss_of

        def loss_of(
            batch: Batch,
            loaded: Any,
            kill: int | None = kill,
            steps: set[Any] = steps,
            real: Any = real,
        ) -> Any:
            steps.add((batch.epoch, batch.step))
            if kill is not None and len(steps) > kill:
                raise Killed
            return real(batch, loaded)

        fitting.loss_of = loss_of  # type: ignore[method-assign]
        if kill is None:
            found = fitting.run(tmp_path / "killed", "x")
        else:
            with pytest.raises(Killed):
                fitting.run(tmp_path / "killed", "x")
    assert same(weights_of(fitting), weights_of(whole)) and found == figures
    assert same(fitting.memory, whole.memory)


@pytest.mark.parametrize("damage", ["bit", "empty", "another epoch"])
def test_damaged_weights_of_the_best_epoch_are_never_kept(
    make: Callable[..., Fitting],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    """One flipped bit in a weight is a whole safetensors file, and another classifier."""
    whole = make()
    figures = whole.run(tmp_path / "whole", "x")
    assert figures["chosen"]["epoch"], "epoch 0 is the best one: nothing is read back"
    # the end of a training that was killed before it said so
    folder = tmp_path / "killed"
    make().run(folder, "x")
    best = folder / "chosen.safetensors"
    content = bytearray(best.read_bytes())
    content[-3] ^= 16
    if damage == "another epoch":
        tensors = checkpoint.read_tensors(best)
        assert tensors is not None
        checkpoint.write_tensors(best, tensors[0], {"epoch": 99})
        with pytest.raises(RunError, match=re.escape("chosen.safetensors")):
            make().run(folder, "x")
        return
    best.write_bytes(b"" if damage == "empty" else content)
    capsys.readouterr()
    again = make()
    progress.be_quiet(False)
    assert again.run(folder, "x") == figures
    progress.be_quiet(True)
    assert same(weights_of(again), weights_of(whole))
    assert "'chosen.safetensors' is damaged" in capsys.readouterr().err


def test_randomness_comes_from_the_step_alone(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    """Dropout draws from torch's global generator; what it was before changes nothing and
    it is left as it was.
    """
    ends = []
    make(dropout=0.5)  # the checkpoint and the pixels are there
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        fitting = make(dropout=0.5, epochs=1)
        fitting.run(tmp_path / str(number), "x")
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(weights_of(fitting))
    assert same(*ends)


def test_too_little_memory_says_what_helps(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    fitting = make()

    def full(pixels: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    fitting.backbone.model.forward = full
    with pytest.raises(LabelsieveError, match=r"accumulate=4.*checkpointing=true"):
        fitting.run(tmp_path, "x")


def test_the_head_can_have_a_rate_of_its_own(
    make: Callable[..., Fitting], tmp_path: Path
) -> None:
    fitting = make("clip", lr=0.0, head_lr=0.1, epochs=1)
    before = weights_of(fitting)
    fitting.run(tmp_path, "x")
    moved = {n for n, t in weights_of(fitting).items() if not torch.equal(t, before[n])}
    assert moved == {"classifier.weight", "classifier.bias"}
