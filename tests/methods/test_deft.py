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
from labelsieve.features import kernel, probe, references
from labelsieve.features.cached import Corners, Few, ImageFeatures
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import _picture_votes, _prompt_training, deft
from labelsieve.methods._dual_prompts import Detector, complementary_labels
from labelsieve.methods._learned import Learned
from labelsieve.settings import resolve
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


@pytest.mark.parametrize("preset", ["default", "tuned"])
def test_planted_errors_come_first(plant: Callable[..., Any], preset: str) -> None:
    planted = plant(each=40, rate=0.2)
    settings = {
        "epochs": 4 if preset == "tuned" else None,
        **deft.PRESETS[preset],
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


def frozen(planted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Zero-shot probabilities [n, k] of the mean of four views, and what both probes say."""
    task = planted.task
    features = np.asarray(task.image_features(Corners(mirror=False)))
    cosines = features @ task.class_features().T
    about = (planted.images.labels, len(planted.images.classes), task.seed)
    linear = probe.cross_validated(features, *about)
    curved, _ = kernel.learn(features, *about)
    both = np.sqrt(linear.astype(np.float64).clip(1e-9) * curved.clip(1e-9))
    return softmax(planted.encoder.logit_scale * cosines), both / both.sum(
        1, keepdims=True
    )


def as_believed(found: Any, raw: np.ndarray) -> np.ndarray:
    """P(right) [n] of what the votes say, by the curve that the detector keeps."""
    scores, values = found.learned["curve"].numpy()
    return 1 - np.interp(1 - raw, scores, values)


def heard(found: Any, names: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """The product of both votes with the weight and temperature that the detector keeps."""
    weight = float(found.learned["pictures_weight"])
    temperature = float(found.learned["votes_temperature"])
    joint = np.log(names.clip(1e-12)) + weight * np.log(learned.clip(1e-9))
    return softmax(joint / temperature)


def test_the_posterior_is_bayes_rule(plant: Callable[..., Any]) -> None:
    planted = plant(each=30)
    found = planted.detect(deft, **SMALL, tuning="none", warmup_epochs=1)
    assert found.learned is not None
    matrix, labels = found.learned["transition"].numpy(), planted.images.labels
    _, detector = built(planted, tuning="none")
    with torch.no_grad():
        detector.prompts.contexts.copy_(found.learned["contexts"])
    positive, negative = detector.judge(planted.images, views=4, mirror=False)
    text, pictures = frozen(planted)
    seed = planted.task.seed
    by_text = fit_transition(text, labels, seed)
    by_pictures = fit_transition(pictures, labels, seed)
    assert found.facts["transition_from"] == "text"
    assert "residuals" not in found.learned
    # what has learned from the labels is one vote, the mean of two
    tuned = softmax(positive.astype(np.float64)).clip(1e-9)
    learned = np.sqrt(tuned * by_pictures.calibrate(pictures).clip(1e-9))
    learned /= learned.sum(1, keepdims=True)
    joint = heard(found, by_text.calibrate(text), learned) * matrix[:, labels].T
    each = np.arange(len(labels))
    raw = (joint / joint.sum(1, keepdims=True))[each, labels]
    np.testing.assert_allclose(
        found.p_clean, as_believed(found, raw), rtol=1e-3, atol=1e-4
    )
    assert found.flagged.sum() == flagging.expected_f1_count(1 - found.p_clean)
    assert found.p_clean[found.flagged].max() <= found.p_clean[~found.flagged].min()
    np.testing.assert_allclose(
        found.columns["positive_logit"], positive[each, labels], rtol=1e-6
    )
    np.testing.assert_allclose(
        found.columns["negative_logit"], negative[each, labels], rtol=1e-6
    )
    simple = by_text.simplified(by_text.calibrate(text), labels, seed)
    np.testing.assert_allclose(matrix, simple.matrix, rtol=1e-4, atol=1e-7)


def test_the_default_trains_nothing_and_is_class_names_times_probes(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=30)
    found = planted.detect(deft, **{**deft.PRESETS["default"], "mirror": False})
    labels, each = planted.images.labels, np.arange(120)
    text, pictures = frozen(planted)
    by_text = fit_transition(text, labels, 0)
    by_pictures = fit_transition(pictures, labels, 0)
    joint = heard(found, by_text.calibrate(text), by_pictures.calibrate(pictures))
    joint = joint * found.learned["transition"].numpy()[:, labels].T
    raw = (joint / joint.sum(1, keepdims=True))[each, labels]
    np.testing.assert_allclose(
        found.p_clean, as_believed(found, raw), rtol=1e-3, atol=1e-4
    )
    assert "contexts" not in found.learned


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
    _, blind = frozen(planted)
    found_with = fit_transition(blind, labels, planted.task.seed)
    calibrated = found_with.calibrate(blind)
    transition = found_with.simplified(calibrated, labels, planted.task.seed)
    learned = dict(found.learned)
    positive = answers(planted, learned)
    votes = softmax(positive.astype(np.float64)) * calibrated
    tempered = votes ** (1 / float(learned["votes_temperature"]))
    joint = tempered * transition.matrix[:, labels].T
    raw = (joint / joint.sum(1, keepdims=True))[each, labels]
    np.testing.assert_allclose(
        found.p_clean, as_believed(found, raw), rtol=1e-3, atol=1e-4
    )
    by_reference = transition.posterior(calibrated, labels)[each, labels].mean()
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
    chosen = {
        w: deft.completed(deft.Settings(), w, 4000, 10) for w in ("text", "pictures")
    }
    assert [(c.epochs, c.residuals) for c in chosen.values()] == [
        (6, False),
        (12, True),
    ]
    frozen = deft.Settings(**deft.PRESETS["default"])
    assert deft.completed(frozen, "text", 4000, 10).epochs == 0
    kept = deft.completed(deft.Settings(**deft.PRESETS["paper"]), "pictures", 4000, 10)
    assert (kept.epochs, kept.residuals) == (10, False), (
        "the paper's recipe is the same everywhere"
    )


def test_other_images_are_judged_by_probes_of_all_images(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=60, noise=30.0).with_names_that_say_nothing()
    settings = deft.Settings(**SMALL)
    found = deft.detect(planted.task, settings)
    assert found.learned is not None
    others = Task(plant(each=20, noise=30.0).images, planted.encoder)
    again = deft.judge(others, settings, found.learned)
    features = np.asarray(planted.task.image_features(Corners(mirror=False)))
    raw, probes = _picture_votes.learn(planted.images, features, 0)
    fit = fit_transition(raw.together, planted.images.labels, 0)
    seen = probes.answers(others.image_features(Corners(mirror=False)))
    np.testing.assert_allclose(
        Learned.from_tensors(found.learned).vote(others),
        fit.calibrate(seen),
        rtol=1e-5,
        atol=1e-9,
    )
    right = (again.probs.argmax(1) == others.data.labels).mean()
    assert right > 0.7 and np.isfinite(again.p_clean).all()


@pytest.mark.parametrize("named", [True, False])
def test_fast_sees_three_views_and_judges_other_images_by_them(
    plant: Callable[..., Any], named: bool
) -> None:
    planted = plant(each=60, noise=30.0)
    planted = planted if named else planted.with_names_that_say_nothing()
    settings = resolve(deft.Settings, deft.PRESETS["fast"], {"mirror": False})
    found = deft.detect(planted.task, settings)
    assert found.learned is not None
    known = Learned.from_tensors(found.learned)
    assert known.look == Few(2, mirror=False)
    features = np.asarray(planted.task.image_features(Few(2, mirror=False)))
    _, probes = _picture_votes.learn(planted.images, features, 0)
    np.testing.assert_allclose(known.pictures.weight, probes.weight, atol=1e-6)
    # the same images, judged as others: what probes of all say of them is no vote out of fold
    again = deft.judge(planted.task, settings, found.learned)
    assert (again.flagged == found.flagged).mean() > 0.9


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
    own = flagging.flag_by_f1(1 - others.p_clean)
    if judged == "threshold":
        gap = others.columns["positive_logit"] - others.columns["negative_logit"]
        own = gap <= 0
    np.testing.assert_array_equal(
        others.flagged, own
    )  # the rate was that of the scanned data


def test_the_threshold_judges_by_the_negative_prompt(plant: Callable[..., Any]) -> None:
    planted = plant()
    found = planted.detect(
        deft, **SMALL, tuning="none", warmup_epochs=1, judge="threshold"
    )
    gap = found.columns["positive_logit"] - found.columns["negative_logit"]
    # the order is that of the gap, its probabilities are those of the reference classifier
    order = np.argsort(gap, kind="stable")
    assert (np.diff(found.p_clean[order]) >= -1e-9).all()
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


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("preset", ["default", "tuned"])
def test_a_detector_judges_other_images_as_its_probes_do(
    plant: Callable[..., Any], preset: str, names: bool
) -> None:
    """On the very images that it has learned from, only the out-of-fold votes are others."""
    planted = plant(each=40, noise=30.0)
    planted = planted if names else planted.with_names_that_say_nothing()
    of_preset = {"epochs": None} if preset == "default" else {}
    of_preset |= deft.PRESETS[preset]
    settings = deft.Settings(**{**SMALL, "warmup_epochs": 1, **of_preset})
    found = deft.detect(planted.task, settings)
    assert found.learned is not None
    again = deft.judge(planted.task, settings, found.learned)
    assert np.corrcoef(again.p_clean, found.p_clean)[0, 1] > 0.8
    assert planted.auroc(again.p_clean) > 0.9


def test_the_best_epoch_is_kept_and_what_is_worse_than_the_untouched_model_is_not_used(
    plant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(each=30)
    heard = iter([0.1, 0.6, 0.3])
    weights = []

    def told(training: Any) -> float:
        weights.append(training._detector.prompts.contexts.detach().clone())
        return next(heard)

    monkeypatch.setattr(_prompt_training._Training, "_accuracy", told)
    settings, detector = built(planted, tuning="none")
    trained = _prompt_training.train(detector, planted.task, settings)
    assert trained.accuracy[1:] == pytest.approx((0.1, 0.6, 0.3))
    assert torch.equal(detector.prompts.contexts, weights[1])
    # the untouched model answers nearly all of these pictures as they are
    assert trained.accuracy[0] > 0.6 and trained.epoch == 0
    heard = iter([0.1, 1.0, 0.3])
    other = planted.elsewhere(planted.task.folder / "other")
    _, again = built(planted, tuning="none")
    assert _prompt_training.train(again, other.task, settings).epoch == 2


def test_the_warm_up_ends_for_good(
    plant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant(each=30)
    heard = iter([0.5, 0.5, 0.5, 0.9, 0.99])
    warm = []

    def told(training: Any) -> float:
        warm.append(float(training.memory["warm"]))
        return next(heard)

    monkeypatch.setattr(_prompt_training._Training, "_accuracy", told)
    settings, detector = built(planted, tuning="none", epochs=5)
    _prompt_training.train(detector, planted.task, settings)
    # asked before it is decided: accuracy that rises again does not bring it back
    assert warm == [1, 1, 1, 0, 0]


def test_steps_follow_the_size_of_what_they_change(plant: Callable[..., Any]) -> None:
    planted = plant()
    settings, detector = built(planted, residuals=True)
    rates = _prompt_training.rates_of(detector, settings)
    with torch.no_grad():
        detector.prompts.contexts /= 3
    smaller = _prompt_training.rates_of(detector, settings)
    assert smaller["contexts"] == pytest.approx(rates["contexts"] / 3)
    assert smaller["visual_prompts"] == rates["visual_prompts"] > 0
    assert smaller["residuals"] == rates["residuals"] > 0
    told = replace(settings, text_lr=0.03, image_lr=0.01)
    assert _prompt_training.rates_of(detector, told) == {
        "contexts": 0.03,
        "residuals": 0.03,
        "visual_prompts": 0.01,
    }


@pytest.mark.parametrize(
    ("n", "steps"), [(90, 0), (200, 100), (4_000, 378), (50_000, 2_346)]
)
def test_few_images_and_many_get_a_sensible_number_of_steps(n: int, steps: int) -> None:
    epochs = _prompt_training.fitting_epochs(n, 10, 64, "text")
    assert epochs * -(-n // 64) == steps


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
    assert len(held_out) == 24 and seen == set(range(120)) - set(held_out.tolist())


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
    embed, train = ImageFeatures.embed, deft.train

    def counted(self: Any, rows: np.ndarray, *how: Any) -> np.ndarray:
        done.extend(rows.tolist())
        return embed(self, rows, *how)

    def begin(*args: Any) -> Any:
        assert len(set(done[1:])) == before, "the first one is for the width"
        return train(*args)

    monkeypatch.setattr(ImageFeatures, "embed", counted)
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
        {"ramp": 1.5},
        {"image_lr": -1.0},
        {"context_length": 0},
        {"epochs": -1},
        {"noise_rate": 1.5},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        deft.Settings(**wrong)
