"""What every method must do, run over all files of the room."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve import registry
from labelsieve.errors import OptionError
from labelsieve.estimation import flagging
from labelsieve.estimation.calibration import of_given, soften
from labelsieve.estimation.doubt import BELIEVED
from labelsieve.estimation.transition import Transition
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import _posterior
from labelsieve.methods._evidence import OwnRule

# deft and auto have tests of their own, pbprompt too, as it needs patches, which this encoder has
# not; what judges sets alone is in test_sets.py
ALL = [
    name
    for name in registry.names("methods")
    if name not in ("deft", "auto", "pbprompt")
    and "single" in registry.constants("methods", name, ("JUDGES",))["judges"]
]
# Settings that keep the tests short, and train on frozen features where the tower would be tuned.
QUICK: dict[str, dict[str, Any]] = {
    "aum": {"epochs": 10},
    "small-loss": {"tuning": "features", "epochs": 4},
    "gmm": {"tuning": "features", "epochs": 4},
    "robust-prompt": {"epochs": 3, "batch_size": 64},
    "simifeat": {"views": 1},
    "ensemble": {"methods": "zero-shot,knn,lemon"},
}
IN_WORDS = [
    name
    for name in ALL
    if "text" in registry.constants("methods", name, ("NEEDS",))["needs"]
]


def run(name: str, planted: Any, **settings: Any) -> Any:
    return planted.detect(
        registry.load("methods", name), **QUICK.get(name, {}), **settings
    )


@pytest.mark.parametrize("name", ALL)
def test_planted_errors_rank_first(name: str, plant: Callable[..., Any]) -> None:
    planted = plant()
    found = run(name, planted)
    n, k = len(planted.images), 4
    assert found.p_clean.shape == found.flagged.shape == found.suggested.shape == (n,)
    assert (
        np.isfinite(found.p_clean).all()
        and found.p_clean.min() >= 0
        and found.p_clean.max() <= 1
    )
    assert found.probs.shape == (n, k) and np.allclose(found.probs.sum(1), 1, atol=1e-5)
    # one posterior says both, so neither can contradict the other
    rows, labels = np.arange(n), planted.images.labels
    assert found.posterior
    assert np.allclose(found.p_clean, found.probs[rows, labels], atol=1e-6)
    assert np.array_equal(
        np.argsort(found.p_clean, kind="stable"),
        np.argsort(found.columns["score"], kind="stable"),
    ), "probabilities keep the method's order"
    assert planted.auroc(found.p_clean) > 0.97
    assert (
        found.suggested[planted.wrong] == planted.truth[planted.wrong]
    ).mean() > 0.95
    assert (found.flagged == planted.wrong).mean() > 0.9
    assert (
        found.suggested[found.flagged] != planted.images.labels[found.flagged]
    ).all()
    assert all(len(column) == n for column in found.columns.values())


@pytest.mark.parametrize("name", ALL)
def test_known_rate_flags_that_many_of_the_most_suspicious(
    name: str, plant: Callable[..., Any]
) -> None:
    planted = plant(each=15)
    found = run(name, planted, noise_rate=0.3)
    assert found.flagged.sum() == 18
    assert found.p_clean[found.flagged].max() <= found.p_clean[~found.flagged].min()
    with pytest.raises(OptionError, match=r"noise_rate cannot be 1.5\. It is a share"):
        registry.load("methods", name).Settings(noise_rate=1.5)


@pytest.mark.parametrize(
    "name",
    [n for n in ALL if issubclass(registry.load("methods", n).Settings, OwnRule)],
)
def test_estimated_rate_flags_about_as_many_as_are_wrong(
    name: str, plant: Callable[..., Any]
) -> None:
    planted = plant(each=25, rate=0.3)
    found = run(name, planted, flags="estimated")
    assert found.facts["flags_by"] == "estimated rate"
    assert abs(found.flagged.mean() - 0.3) < 0.1
    assert found.p_clean[found.flagged].max() <= found.p_clean[~found.flagged].min()


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_bits_whatever_happened_before(
    name: str, plant: Callable[..., Any], tmp_path: Any
) -> None:
    planted = plant(each=8)
    first = run(name, planted)
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    again = run(name, planted.elsewhere(tmp_path / "again"))
    for a, b in (
        (first.p_clean, again.p_clean),
        (first.probs, again.probs),
        (first.flagged, again.flagged),
    ):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", ALL)
def test_a_class_of_one_image_and_few_images(
    name: str, plant: Callable[..., Any]
) -> None:
    planted = plant(each=[6, 5, 1], k=3, rate=0.0)
    found = run(name, planted)
    assert (
        np.isfinite(found.p_clean).all()
        and found.p_clean.min() >= 0
        and found.p_clean.max() <= 1
    )
    assert np.isfinite(found.probs).all() and np.allclose(
        found.probs.sum(1), 1, atol=1e-5
    )


# capro reads names, and turns no cosines with them into probabilities of its own
OTHERWISE = ("ensemble", "capro")
ALONE = [name for name in IN_WORDS if name not in OTHERWISE]
UNTRAINED = {
    "robust-prompt": {"epochs": 0},
    "deft": {"epochs": 0, "tuning": "features", "judge": "threshold"},
}


class TestTemperature:
    """Cosines become probabilities at the model's own temperature, which is recorded."""

    @pytest.mark.parametrize("name", [*ALONE, "deft"])
    def test_a_model_of_another_scale_gives_other_probabilities(
        self, name: str, plant: Callable[..., Any]
    ) -> None:
        planted = plant(each=8, noise=60.0)
        room, settings = registry.load("methods", name), UNTRAINED.get(name, {})
        sharp, blurred = (
            planted.with_scale(s).detect(room, **settings) for s in (20.0, 2.0)
        )
        assert sharp.facts["temperature"] == pytest.approx(1 / 20)
        assert blurred.facts["temperature"] == pytest.approx(1 / 2)
        assert (
            sharp.facts["temperature_from"]
            == blurred.facts["temperature_from"]
            == "model"
        )
        if name in ("clip-cleaner", "lemon"):
            return  # they rank by mixtures and cosines, on which a scale has hardly a say
        column = "positive_logit" if name == "deft" else "score"
        assert np.abs(sharp.columns[column] - blurred.columns[column]).max() > 0.01

    @pytest.mark.parametrize("name", [n for n in ALONE if n != "robust-prompt"])
    def test_a_temperature_that_was_set_wins_and_is_named(
        self, name: str, plant: Callable[..., Any]
    ) -> None:
        planted = plant(each=8, noise=60.0)
        room = registry.load("methods", name)
        set_, own = (
            planted.detect(room, temperature=0.5),
            planted.with_scale(2.0).detect(room),
        )
        assert (
            set_.facts["temperature"] == 0.5
            and set_.facts["temperature_from"] == "setting"
        )
        assert np.allclose(set_.columns["score"], own.columns["score"], atol=1e-5)
        with pytest.raises(OptionError, match="Setting temperature cannot be 0"):
            planted.detect(room, temperature=0.0)

    def test_an_ensemble_names_those_of_its_members(
        self, plant: Callable[..., Any]
    ) -> None:
        facts = run("ensemble", plant(each=8)).facts
        assert facts["members"]["zero-shot"]["temperature"] == pytest.approx(1 / 50)


def test_few_images_a_class_make_a_probe_less_sure_and_many_do_not() -> None:
    assert _posterior.ignorance_of(200, 10) == 0.5
    assert _posterior.ignorance_of(4_000, 10) < 0.003
    probs = np.array([[0.999999, 0.000001], [0.4, 0.6], [0.000001, 0.999999]])
    labels = np.array([0, 0, 0])
    kind = Transition(np.full((2, 2), 0.5), 1.0, np.ones(2), None, np.zeros(3), ())
    sure = _posterior.Reference("pictures", probs, kind)
    few = replace(sure, ignorance=_posterior.ignorance_of(24, 2))
    before, after = (1 - r.posterior(labels)[:, 0] for r in (sure, few))
    assert before[2] > 0.999 and after[2] < 0.9
    # nobody overtakes anybody
    assert (np.diff(before) > 0).all() and (np.diff(after) > 0).all()
    # names that the model knows have learned from no label
    votes = {"text": np.full((40, 2), 0.5)}
    votes["text"][:20] = 0.9, 0.1
    votes["text"][20:] = 0.1, 0.9
    assert _posterior.select_among(votes, np.repeat([0, 1], 20), 0).ignorance == 0
    votes = {"pictures": votes["text"]}
    assert _posterior.select_among(votes, np.repeat([0, 1], 20), 0).ignorance == 0.5


def test_of_clean_labels_next_to_none_is_flagged_and_their_order_stays() -> None:
    rng = np.random.default_rng(0)
    n, k = 1_500, 30
    logits = 3 * rng.normal(size=(n, k))
    truth = (softmax(logits).cumsum(1) < rng.random((n, 1))).sum(1).clip(0, k - 1)
    # surer than it is right of some pictures, so that no temperature suits all
    votes = {"text": softmax(logits * rng.uniform(0.7, 1.3, size=(n, 1)))}
    reference = _posterior.select_among(votes, truth, 0)
    found = 1 - of_given(reference.posterior(truth), truth)
    alone = replace(reference, doubt=0.0)
    before = 1 - of_given(alone.posterior(truth), truth)
    assert reference.doubt < 0
    assert flagging.flag_by_f1(before).mean() > 0.02
    assert flagging.flag_by_f1(found).mean() <= 0.01
    # float32: what is next to nothing may be equal
    assert (np.diff(found[np.argsort(before)]) > -1e-6).all()
    # the interval says that it may be none
    assert min(reference.transition.rates) < 0.01


def test_a_vote_of_odd_shape_is_no_witness_of_errors_where_a_probe_is_asked() -> None:
    rng = np.random.default_rng(0)
    n, k = 4_000, 6
    probe = softmax(rng.uniform(0.5, 6, size=(n, 1)) * rng.normal(size=(n, k)))
    truth = (probe.cumsum(1) < rng.random((n, 1))).sum(1).clip(0, k - 1)
    # half of it too sure and half not sure enough: no temperature suits both
    odd = soften(probe, 2.0)
    odd[::2] = soften(probe[::2], 0.4)
    votes = {"pictures": odd}
    assert _posterior.select_among(votes, truth, 0).doubt > 0
    asked = _posterior.select_among(votes, truth, 0, probe)
    assert asked.doubt == pytest.approx(math.log(BELIEVED))
    # and a probe clears no labels of which one in ten is wrong
    wrong = rng.random(n) < 0.1
    labels = np.where(wrong, (truth + 1) % k, truth)
    assert (
        _posterior.select_among(votes, labels, 0, probe).doubt > math.log(BELIEVED) / 2
    )
