"""What people say about some labels, for the others: against formulas, and on planted structure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from labelsieve.estimation.audits import answers
from labelsieve.estimation.audits.answers import Answers, Kernel, Learner
from labelsieve.estimation.calibration import logit, sigmoid

N = 600


def at(rows: np.ndarray, wrong: np.ndarray) -> Answers:
    return Answers(rows, wrong[rows], np.full(len(rows), -1))


@pytest.fixture(scope="module")
def suspects() -> dict[str, np.ndarray]:
    """Labels of three classes; in class 0 all suspects that look alike are false alarms."""
    rng = np.random.default_rng(0)
    given = rng.integers(0, 3, N)
    suggested = (given + 1) % 3
    group = rng.random(N) < 0.5
    centres = rng.normal(size=(2, 16))
    features = centres[group.astype(int)] + 0.3 * rng.normal(size=(N, 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    p_wrong = rng.uniform(0.4, 0.95, N)
    chance = np.where((given == 0) & group, 0.05, p_wrong)
    return {
        "p_wrong": p_wrong,
        "given": given,
        "suggested": suggested,
        "features": features.astype(np.float32),
        "wrong": rng.random(N) < chance,
    }


def learner(suspects: dict[str, np.ndarray], kernel: Kernel | None = None) -> Learner:
    inputs = {k: v for k, v in suspects.items() if k != "wrong"}
    return Learner(**inputs, kernel=kernel)


def test_without_answers_nothing_changes(suspects: dict[str, np.ndarray]) -> None:
    nobody = at(np.empty(0, dtype=np.int64), suspects["wrong"])
    p = learner(suspects).p_wrong(nobody)
    np.testing.assert_allclose(p, suspects["p_wrong"], rtol=1e-9)


def test_it_is_the_most_probable_function_of_the_kernel(
    suspects: dict[str, np.ndarray],
) -> None:
    """At the answers f = K (y - p): the gradient of the posterior is zero there; see the book."""
    model = learner(suspects)
    rows = np.arange(0, N, 20)
    wrong = suspects["wrong"][rows]
    p = model.p_wrong(at(rows, suspects["wrong"]))
    f = logit(p) - logit(suspects["p_wrong"])
    kernel = model._covariance(rows)
    np.testing.assert_allclose(f[rows], kernel @ (wrong - p[rows]), atol=0.02)
    # elsewhere it is the mean given those: the same sum with other covariances
    every = model._covariance(np.arange(N))[:, rows]
    np.testing.assert_allclose(f, every @ (wrong - p[rows]), atol=0.02)


def test_the_ranking_of_the_rest_improves_and_means_what_it_says(
    suspects: dict[str, np.ndarray],
) -> None:
    p, wrong = suspects["p_wrong"], suspects["wrong"]
    rows = np.argsort(-p)[:120]
    rest = np.setdiff1d(np.arange(N), rows)
    after = learner(suspects).p_wrong(at(rows, wrong))
    before = roc_auc_score(wrong[rest], p[rest])
    assert roc_auc_score(wrong[rest], after[rest]) > before + 0.08
    false_alarms = rest[(suspects["given"][rest] == 0) & ~wrong[rest]]
    assert after[false_alarms].mean() < p[false_alarms].mean() - 0.2
    assert abs(after[rest].mean() - wrong[rest].mean()) < 0.08


def test_suspects_say_little_about_labels_that_look_right() -> None:
    """Reviewing from the top refutes many; what nobody looked at keeps the scan's word."""
    p = np.repeat([0.9, 0.02], 300)
    given = np.arange(600) % 2
    rows = np.arange(100)
    refuted = Answers(rows, np.zeros(100, dtype=bool), np.full(100, -1))
    after = Learner(p, given, 1 - given).p_wrong(refuted)
    assert after[100:300].max() < 0.3
    assert after[300:].mean() > 0.005
    # a random audit does say it
    rows = np.arange(300, 400)
    found = Answers(rows, np.arange(100) < 30, np.full(100, -1))
    audited = Learner(p, given, 1 - given).p_wrong(found)
    assert audited[400:].mean() > 0.15


def test_the_second_opinion_leaves_each_label_out() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    given = rng.integers(0, 3, 60)
    found = answers.second_opinion(features, given)
    inputs = features - features.mean(0)
    gram = inputs.T @ inputs
    strength = answers.PENALTY * np.trace(gram) / 5
    gaps = []
    for i in range(60):
        kept = np.arange(60) != i
        # the intercept is not penalised: the features are centred
        design = np.c_[inputs, np.ones(60)]
        penalty = np.diag([strength] * 5 + [0.0])
        kept_design = design[kept]
        target = np.eye(3)[given[kept]]
        weights = np.linalg.solve(
            kept_design.T @ kept_design + penalty, kept_design.T @ target
        )
        scores = design[i] @ weights
        gaps.append(np.delete(scores, given[i]).max() - scores[given[i]])
    wanted = (np.array(gaps) - np.mean(gaps)) / np.std(gaps)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_which_class_is_right_is_counted_per_label() -> None:
    posterior = np.tile([[0.1, 0.6, 0.3]], (40, 1))
    given = np.zeros(40, dtype=np.int64)
    model = Learner(np.full(40, 0.9), given, np.ones(40, dtype=np.int64))
    rows = np.arange(20)
    always_two = Answers(rows, np.ones(20, dtype=bool), np.full(20, 2))
    factors = model.others(posterior, always_two)
    assert factors[0, 2] > 2 > 0.5 > factors[0, 1]
    assert (factors[1:] == 1).all()
    as_said = Answers(rows, np.ones(20, dtype=bool), np.repeat([1, 2], [13, 7]))
    np.testing.assert_allclose(model.others(posterior, as_said)[0, 1:], 1, atol=0.05)


def test_old_answers_are_thinned_evenly() -> None:
    m = answers.LATEST + 4 * answers.EARLIER
    every = Answers(np.arange(m), np.zeros(m, dtype=bool), np.full(m, -1))
    kept = every.thinned().rows
    assert len(kept) == answers.LATEST + answers.EARLIER
    assert kept[-answers.LATEST :].tolist() == list(range(m - answers.LATEST, m))
    assert kept[0] == 0 and np.diff(kept[: answers.EARLIER]).max() <= 5
    assert sigmoid(np.zeros(1))[0] == 0.5
