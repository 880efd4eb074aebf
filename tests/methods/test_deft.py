"""DeFT as a whole: selection, warm-up, judging, presets.

Its arithmetic is compared in test_reference_parity.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.data.augment import views
from labelsieve.errors import OptionError
from labelsieve.estimation import flagging
from labelsieve.estimation.transition import fit_transition
from labelsieve.features import references
from labelsieve.features.cached import ImageFeatures
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import _prompt_training, deft
from labelsieve.methods._dual_prompts import Detector, complementary_labels
from labelsieve.methods._posterior import Learned
from labelsieve.training.loop import Batch, Problem

SMALL: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "tuning_size": 1,
    "mirror": False,
}


def built(planted: Any, **settings: Any) -> tuple[deft.Settings, Detector]:
    chosen = deft.Settings(**{**SMALL, **settings})
    return chosen, deft.build(planted.task, chosen, 0)


@pytest.mark.parametrize("preset", ["default", "fast"])
def test_planted_errors_come_first(plant: Callable[..., Any], preset: str) -> None:
    planted = plant(each=40, rate=0.2)
    settings = {
        **deft.PRESETS[preset],
        "epochs": 4,
        "mirror": False,
        "batch_size": 32,
        "warmup_epochs": 2,
    }
    found = planted.detect(deft, **settings)
    assert planted.auroc(found.p_clean) > 0.9
    assert (
        np.isfinite(found.p_clean).all()
        and found.p_clean.min() >= 0
        and found.p_clean.max() <= 1
    )


def test_complementary_labels_are_every_other_class_equally_often() -> None:
    labels = torch.arange(5).repeat(4000)
    other = complementary_labels(labels, 5, torch.Generator().manual_seed(0))
    counts = np.zeros((5, 5))
    np.add.at(counts, (labels.numpy(), other.numpy()), 1)
    assert (np.diag(counts) == 0).all()
    off = counts[~np.eye(5, dtype=bool)]
    assert np.abs(off - 1000).max() < 5 * np.sqrt(1000 * 0.75)
    again = complementary_labels(labels, 5, torch.Generator().manual_seed(0))
    assert torch.equal(other, again)


def test_selection_follows_the_learned_threshold_and_the_real_rule_asks_for_argmax_too(
    plant: Callable[..., Any],
) -> None:
    planted = plant()
    _, detector = built(planted, tuning="none")
    pictures = planted.encoder.normalise(planted.images.inputs(np.arange(100)))
    labels = torch.from_numpy(planted.images.labels[:100])
    other = (labels + 1) % 4
    with torch.no_grad():
        detector.prompts.contexts[1] += 0.3 * torch.randn(
            detector.prompts.contexts[1].shape,
            generator=torch.Generator().manual_seed(1),
        )
        plain = detector.step(pictures, labels, other, selecting=True)
        real = detector.step(pictures, labels, other, selecting=True, rule="real")
    gap = plain.positive - plain.negative
    own = gap.gather(1, labels[:, None])[:, 0]
    assert torch.equal(plain.selected, own > 0) and 0 < plain.selected.sum() < 100
    assert (
        torch.equal(real.selected, (own > 0) & (gap.argmax(1) == labels))
        and real.selected.sum() < plain.selected.sum()
    )


def test_selecting_nothing_costs_nothing(plant: Callable[..., Any]) -> None:
    planted = plant()
    _, detector = built(planted)
    with torch.no_grad():
        detector.prompts.contexts[1] = detector.prompts.contexts[
            0
        ]  # p = 0.5 everywhere: not selected
    pictures = planted.encoder.normalise(planted.images.inputs(np.arange(8)))
    labels = torch.from_numpy(planted.images.labels[:8])
    step = detector.step(pictures, labels, (labels + 1) % 4, selecting=True)
    assert (
        not step.selected.any()
        and step.loss_class.item() == 0
        and torch.isfinite(step.loss)
    )
    step.loss.backward()
    assert (
        detector.tuned.prompts is not None and detector.tuned.prompts.grad is not None
    )
    assert (
        detector.tuned.prompts.grad == 0
    ).all()  # nothing selected teaches the image side nothing


def test_the_posterior_is_bayes_rule(plant: Callable[..., Any]) -> None:
    planted = plant(each=30)
    found = planted.detect(deft, **SMALL, tuning="none", warmup_epochs=1)
    assert found.learned is not None
    matrix, labels = found.learned["transition"].numpy(), planted.images.labels
    _, detector = built(planted, tuning="none")
    with torch.no_grad():
        detector.prompts.contexts.copy_(found.learned["contexts"])
    positive, negative = detector.judge(planted.images, views=4, mirror=False)
    frozen = planted.task.zero_shot()
    by_text = fit_transition(frozen.probs(), labels, planted.task.seed)
    assert (
        found.facts["transition_from"] == "text"
        and not {"residuals", "probe_weight"} & found.learned.keys()
    )
    for i in range(0, len(labels), 7):
        q = np.exp(positive[i].astype(np.float64) - positive[i].max())
        second = frozen.probs()[i] ** (1 / by_text.temperature) * by_text.weights
        joint = q * second * matrix[:, labels[i]]
        assert found.p_clean[i] == pytest.approx(
            joint[labels[i]] / joint.sum(), rel=1e-3, abs=1e-6
        )
    assert found.flagged.sum() == flagging.expected_f1_count(1 - found.p_clean)
    assert found.p_clean[found.flagged].max() <= found.p_clean[~found.flagged].min()
    each = np.arange(len(labels))
    np.testing.assert_allclose(
        found.columns["positive_logit"], positive[each, labels], rtol=1e-6
    )
    np.testing.assert_allclose(
        found.columns["negative_logit"], negative[each, labels], rtol=1e-6
    )
    frozen = planted.task.zero_shot()
    np.testing.assert_array_equal(
        matrix, fit_transition(frozen.probs(), labels, planted.task.seed).matrix
    )


def answers(planted: Any, learned: dict[str, torch.Tensor]) -> np.ndarray:
    """Positive logits [n, k] of a detector put together from what was learned."""
    detector = deft.build(
        planted.task, deft.Settings(**SMALL, residuals="residuals" in learned), 0
    )
    with torch.no_grad():
        for name, parameter in detector.parameters().items():
            parameter.copy_(learned[name])
    return detector.judge(planted.images, views=4, mirror=False)[0]


def test_where_names_say_nothing_classes_learn_vectors_and_a_probe_votes(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=60, noise=30.0).with_names_that_say_nothing()
    labels, each = planted.images.labels, np.arange(240)
    found = planted.detect(deft, **SMALL | {"epochs": 8})
    assert found.facts["transition_from"] == "pictures" and found.learned is not None
    assert planted.auroc(found.p_clean) > 0.9
    blind = planted.task.out_of_fold().astype(np.float64)
    found_with = fit_transition(blind, labels, planted.task.seed)
    transition = found_with.simplified(
        found_with.calibrate(blind), labels, planted.task.seed
    )
    learned = dict(found.learned)
    positive = answers(planted, learned)
    votes = softmax(positive.astype(np.float64)) * transition.calibrate(blind)
    tempered = votes ** (1 / float(learned["votes_temperature"]))
    joint = tempered * transition.matrix[:, labels].T
    np.testing.assert_allclose(
        found.p_clean,
        (joint / joint.sum(1, keepdims=True))[each, labels],
        rtol=1e-4,
        atol=1e-7,
    )
    by_reference = transition.posterior(transition.calibrate(blind), labels)[
        each, labels
    ].mean()
    assert found.p_clean.mean() == pytest.approx(
        by_reference, abs=0.02
    )  # two votes on the same labels are one opinion
    without = planted.elsewhere(planted.task.folder / "without")
    plain = without.detect(deft, **SMALL | {"epochs": 8}, residuals=False)
    assert "residuals" not in plain.learned
    right = [
        (a.argmax(1) == planted.truth).mean()
        for a in (positive, answers(planted, plain.learned))
    ]
    assert right[0] > 0.9 > right[1] + 0.1


def test_what_is_left_open_follows_the_reference_and_what_is_set_stays() -> None:
    chosen = {w: deft.completed(deft.Settings(), w) for w in ("text", "pictures")}
    assert [(c.epochs, c.residuals) for c in chosen.values()] == [
        (6, False),
        (12, True),
    ]
    kept = deft.completed(deft.Settings(**deft.PRESETS["paper"]), "pictures")
    assert (kept.epochs, kept.residuals) == (10, False), (
        "the paper's recipe is the same everywhere"
    )


def test_other_images_are_judged_by_a_probe_of_all_images(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=60, noise=30.0).with_names_that_say_nothing()
    settings = deft.Settings(**SMALL)
    found = deft.detect(planted.task, settings)
    assert found.learned is not None
    others = plant(each=20, noise=30.0).images
    again = deft.judge(Task(others, planted.encoder), settings, found.learned)
    features = np.asarray(Task(others, planted.encoder).image_features())
    probs = softmax(
        features @ found.learned["probe_weight"].numpy().T
        + found.learned["probe_bias"].numpy()
    )
    transition = fit_transition(
        planted.task.out_of_fold().astype(np.float64),
        planted.images.labels,
        0,
    )
    expected = Learned.from_tensors(found.learned).vote(Task(others, planted.encoder))
    np.testing.assert_allclose(
        expected, transition.calibrate(probs), rtol=1e-5, atol=1e-9
    )
    assert (again.probs.argmax(1) == others.labels).mean() > 0.7 and np.isfinite(
        again.p_clean
    ).all()


def test_labels_are_judged_by_the_mean_of_four_views(plant: Callable[..., Any]) -> None:
    planted = plant()
    settings, detector = built(planted, tuning="none", mirror=True)
    pictures = planted.encoder.normalise(planted.images.inputs(np.arange(9)))
    with torch.no_grad():
        each = [detector.logits(view)[0] for view in views(pictures, 4)]
    positive, _ = deft.logits_of(detector, planted.task, settings)
    torch.testing.assert_close(
        torch.from_numpy(positive[:9]), torch.stack(each).mean(0), rtol=1e-4, atol=1e-3
    )
    once, _ = deft.logits_of(detector, planted.task, replace(settings, views=1))
    torch.testing.assert_close(
        torch.from_numpy(once[:9]),
        detector.logits(pictures)[0].detach(),
        rtol=1e-4,
        atol=1e-3,
    )
    assert np.abs(once - positive).max() > 0.1
    straight, _ = deft.logits_of(
        detector, planted.task, replace(settings, mirror=False)
    )
    assert np.abs(straight - positive).max() > 0.1, (
        "pictures that must not be mirrored are"
    )


@pytest.mark.parametrize("judged", ["posterior", "threshold"])
def test_a_known_rate_decides_how_many_are_flagged(
    plant: Callable[..., Any], judged: str
) -> None:
    planted = plant()
    settings = deft.Settings(
        **SMALL, tuning="none", warmup_epochs=1, judge=judged, noise_rate=0.35
    )
    found = deft.detect(planted.task, settings)
    assert found.learned is not None and found.facts["flags_by"] == "known rate"
    assert found.flagged.sum() == round(0.35 * len(planted.images))
    assert found.p_clean[found.flagged].max() <= found.p_clean[~found.flagged].min()
    others = deft.judge(planted.task, settings, found.learned)
    own = (
        flagging.flag_by_f1(1 - found.p_clean)
        if judged == "posterior"
        else found.p_clean <= 0.5
    )
    np.testing.assert_array_equal(
        others.flagged, own
    )  # the rate was that of the scanned data


def test_the_threshold_judges_by_the_negative_prompt(plant: Callable[..., Any]) -> None:
    planted = plant()
    found = planted.detect(
        deft, **SMALL, tuning="none", warmup_epochs=1, judge="threshold"
    )
    gap = found.columns["positive_logit"] - found.columns["negative_logit"]
    np.testing.assert_allclose(
        found.p_clean, 1 / (1 + np.exp(-gap.astype(np.float64))), rtol=1e-5
    )
    np.testing.assert_array_equal(found.flagged, gap <= 0)
    np.testing.assert_allclose(found.probs.sum(1), 1, rtol=1e-5)


def test_the_paper_preset_reports_what_the_last_epoch_saw(
    plant: Callable[..., Any],
) -> None:
    """Labels are judged within training, while weights move: not what a later pass gives."""
    planted = plant()
    settings = {
        **deft.PRESETS["paper"],
        "epochs": 2,
        "batch_size": 32,
        "mirror": False,
        "tuning_size": 1,
        "context_length": 2,
    }
    last = planted.detect(deft, **settings)
    other = planted.elsewhere(planted.task.folder / "other")
    final = other.detect(deft, **{**settings, "scoring": "final"})
    assert (last.p_clean > 0).all() and not np.allclose(last.p_clean, final.p_clean)
    assert last.learned is not None and final.learned is not None
    torch.testing.assert_close(last.learned["contexts"], final.learned["contexts"])


@pytest.mark.parametrize("tuning", ["vpt-deep", "features"])
def test_a_detector_judges_other_images_as_it_judged_its_own(
    plant: Callable[..., Any], tuning: str
) -> None:
    planted = plant()
    settings = deft.Settings(**{**SMALL, "tuning": tuning, "warmup_epochs": 1})
    found = deft.detect(planted.task, settings)
    assert found.learned is not None
    again = deft.judge(planted.task, settings, found.learned)
    np.testing.assert_array_equal(again.p_clean, found.p_clean)
    np.testing.assert_array_equal(again.flagged, found.flagged)


@pytest.mark.parametrize(
    ("accuracies", "rising"),
    [
        ([0.1], True),
        ([0.1, 0.5], True),
        ([0.1, 0.5, 0.6], True),
        ([0.6, 0.6, 0.6], False),
        ([0.1, 0.6, 0.55, 0.61], False),
        ([0.1, 0.5, 0.52, 0.6], True),
    ],
)
def test_the_warm_up_ends_when_noisy_accuracy_stops_rising(
    accuracies: list[float], rising: bool
) -> None:
    assert _prompt_training.still_rising(np.array(accuracies), 500) is rising


def test_held_out_images_are_not_trained_on(
    plant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(each=30)
    seen: set[int] = set()
    real = _prompt_training.fit

    def watching(problem: Problem, *args: Any, **kwargs: Any) -> None:
        def watched(batch: Batch, loaded: Any) -> Any:
            seen.update(batch.rows.tolist())
            return problem.loss_of(batch, loaded)

        real(replace(problem, loss_of=watched), *args, **kwargs)

    monkeypatch.setattr(_prompt_training, "fit", watching)
    planted.detect(deft, **SMALL, tuning="none")
    held_out = _prompt_training.held_out_rows(len(planted.images), planted.task.seed)
    assert len(held_out) == 12 and seen == set(range(120)) - set(held_out.tolist())


@pytest.mark.parametrize(
    ("tuning", "known", "before"),
    [("vpt-deep", True, 20), ("vpt-deep", False, 120), ("bias", True, 120)],
)
def test_training_begins_before_all_features_are_there(
    plant: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tuning: str,
    known: bool,
    before: int,
) -> None:
    """Where names are known and the tower stays as it is, only those of the sample are needed."""
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    planted = plant(each=30) if known else plant(each=30).with_names_that_say_nothing()
    monkeypatch.setattr(references, "SAMPLE", 20)
    monkeypatch.setattr(references, "NEIGHBOURS", 3)
    done: list[int] = []
    embed, train = ImageFeatures._embed, deft.train

    def counted(self: Any, rows: np.ndarray, view: Any) -> np.ndarray:
        done.extend(rows.tolist())
        return embed(self, rows, view)

    def begin(*args: Any) -> Any:
        assert len(set(done[1:])) == before, "the first one is for the width"
        return train(*args)

    monkeypatch.setattr(ImageFeatures, "_embed", counted)
    monkeypatch.setattr(deft, "train", begin)
    planted.detect(deft, **SMALL, tuning=tuning)
    assert set(done) == set(range(120))


def test_contexts_start_at_the_templates_words(plant: Callable[..., Any]) -> None:
    planted = plant()
    _, detector = built(planted)
    ids, end = planted.encoder.tokenize(
        [planted.images.template.partition("{}")[0].strip()]
    )
    torch.testing.assert_close(
        detector.prompts.contexts[0].detach(),
        planted.encoder.embed_tokens(ids[0, : int(end[0])]),
    )
    _, random = built(planted, context_start="random", context_length=7)
    assert (
        random.prompts.length == 7
        and random.prompts.contexts.std().item() == pytest.approx(0.02, rel=0.2)
    )


def test_fast_starts_at_the_frozen_features(plant: Callable[..., Any]) -> None:
    planted = plant()
    _, detector = built(planted, tuning="features")
    frozen = planted.task.image_features()
    positive, _ = detector.judge(planted.images, frozen)
    text = detector.prompts.positive(planted.encoder, detector.tokens).detach().numpy()
    np.testing.assert_allclose(
        positive, planted.encoder.logit_scale * frozen @ text.T, rtol=1e-4, atol=1e-3
    )
    assert softmax(positive).argmax(1).tolist() == (frozen @ text.T).argmax(1).tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        {"tuning": "vpt"},
        {"tuning": "features", "views": 4},
        {"image_lr": -1.0},
        {"context_length": 0},
        {"epochs": -1},
        {"noise_rate": 1.5},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        deft.Settings(**wrong)
