"""DeFT in scikit-learn's manner: answers in the order of the questions, NaN where there is
nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve import DeFT
from labelsieve.errors import OptionError, RunError
from labelsieve.pipeline.scan import scan

QUICK = {"epochs": 1, "batch_size": 16}


@pytest.fixture(scope="module")
def data(digits: tuple[np.ndarray, np.ndarray]) -> tuple[list[Any], list[Any]]:
    """Twenty-four digits of three classes; picture 3 is broken and label 5 is missing."""
    images, truth = digits
    rows = np.random.default_rng(0).permutation(np.flatnonzero(truth < 3)[:24])
    pictures, labels = list(images[rows]), [int(k) for k in truth[rows]]
    pictures[3] = b"no picture"
    labels[5] = None  # type: ignore[call-overload]
    return pictures, labels


@pytest.fixture(scope="module")
def fitted(data: tuple[list[Any], list[Any]], own_cache: Any) -> DeFT:
    return DeFT(**QUICK).fit(*data)


def test_answers_are_those_of_the_scan_in_the_order_of_the_rows(
    fitted: DeFT, data: tuple[list[Any], list[Any]], tmp_path: Any
) -> None:
    scores = scan(data, output=tmp_path / "run", settings=QUICK).scores
    by_row = {int(r["sample_id"].partition("#")[0][3:]): r for r in scores.to_pylist()}
    for i in range(24):
        if i in (3, 5):
            assert (
                np.isnan(fitted.p_clean_[i])
                and not fitted.issues_[i]
                and fitted.suggested_[i] is None
            )
        else:
            assert fitted.p_clean_[i] == by_row[i]["p_clean"]
            assert fitted.issues_[i] == by_row[i]["is_label_issue"]
            assert fitted.suggested_[i] == by_row[i]["suggested_label"]
    assert fitted.issues_.dtype == bool and len(fitted.p_clean_) == 24
    assert fitted.classes_.tolist() == ["0", "1", "2"]
    estimate, low, high = fitted.noise_rate_
    assert 0 <= low <= estimate <= high <= 1


def test_the_same_images_are_judged_the_same_in_any_order(
    fitted: DeFT, data: tuple[list[Any], list[Any]]
) -> None:
    pictures, labels = data
    order = np.random.default_rng(1).permutation(24)
    questions = [pictures[i] for i in order], [labels[i] for i in order]
    assert np.array_equal(
        fitted.predict_proba(*questions), fitted.p_clean_[order], equal_nan=True
    )
    assert np.array_equal(fitted.predict(*questions), fitted.issues_[order])


def test_another_label_gets_another_answer(
    fitted: DeFT, data: tuple[list[Any], list[Any]]
) -> None:
    pictures, labels = (
        [p for i, p in enumerate(data[0]) if i not in (3, 5)],
        [k for i, k in enumerate(data[1]) if i not in (3, 5)],
    )
    p_clean = np.stack(
        [
            fitted.predict_proba(pictures, [str((k + shift) % 3) for k in labels])
            for shift in range(3)
        ],
        1,
    )
    assert np.array_equal(
        p_clean[:, 0], fitted.predict_proba(pictures, np.array(labels))
    )
    # where nearly nothing can be learned from two dozen pictures, some are judged alike
    assert (np.ptp(p_clean, axis=1) > 0).mean() > 0.9


def test_same_seed_same_bits_other_seed_other(
    data: tuple[list[Any], list[Any]], fitted: DeFT
) -> None:
    assert np.array_equal(
        DeFT(**QUICK).fit(*data).p_clean_, fitted.p_clean_, equal_nan=True
    )
    assert not np.array_equal(
        DeFT(seed=3, **QUICK).fit(*data).p_clean_, fitted.p_clean_, equal_nan=True
    )


def test_fitting_again_forgets(
    data: tuple[list[Any], list[Any]], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    detector = DeFT(epochs=0).fit(*data)
    names = np.array(["seven", "nine"])
    detector.fit(digits[0][:6], names[[0, 1, 0, 1, 1, 0]])
    assert detector.classes_.tolist() == [
        "nine",
        "seven",
    ] and detector.p_clean_.shape == (6,)
    assert detector.predict(digits[0][:2], names).shape == (2,)


def test_options_are_checked(data: tuple[list[Any], list[Any]]) -> None:
    with pytest.raises(
        OptionError, match=r"Setting 'epoch' is unknown.*Did you mean 'epochs'"
    ):
        DeFT(epoch=3).fit(*data)
    with pytest.raises(OptionError, match="--preset"):
        DeFT(preset="quick").fit(*data)


def test_unfitted(data: tuple[list[Any], list[Any]]) -> None:
    for ask in (DeFT().predict, DeFT().predict_proba):
        question: Callable[..., Any] = ask
        with pytest.raises(RunError, match="not fitted"):
            question(*data)


def test_scikit_learn_clones_it_and_sets_its_parameters() -> None:
    from sklearn.base import clone
    from sklearn.utils.validation import check_is_fitted

    detector = DeFT("tiny", seed=3, class_names={"0": "zero"}, **QUICK)
    twin = clone(detector)
    assert twin is not detector and twin.get_params() == detector.get_params()
    assert twin.get_params()["epochs"] == 1 and twin.settings == QUICK
    twin.set_params(epochs=4, seed=5)
    assert (twin.settings["epochs"], twin.seed) == (4, 5)
    assert (detector.settings["epochs"], detector.seed) == (1, 3)
    assert repr(DeFT("tiny", epochs=2)) == "DeFT(model='tiny', epochs=2)"
    with pytest.raises(Exception, match="not fitted"):
        check_is_fitted(detector)


def test_every_parameter_of_the_signature_is_one_for_scikit_learn() -> None:
    import inspect

    signature = inspect.signature(DeFT.__init__).parameters
    named = {
        name: p.default
        for name, p in signature.items()
        if p.kind is not p.VAR_KEYWORD and name != "self"
    }
    assert named == DeFT().get_params()


def test_it_stands_in_a_pipeline(
    fitted: DeFT, data: tuple[list[Any], list[Any]]
) -> None:
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    line = Pipeline([("detector", clone(fitted))])
    line.set_params(detector__seed=7, detector__epochs=2)
    twin = clone(line)["detector"]
    assert twin is not fitted and (twin.seed, twin.settings["epochs"]) == (7, 2)
    # one that was fitted keeps what it knows
    known = Pipeline([("detector", fitted)])
    answers = known.predict(data[0], labels=data[1])
    assert answers.tolist() == fitted.predict(*data).tolist()


def test_fitted_is_known(fitted: DeFT) -> None:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(fitted)
