"""Where names and a probe contradict each other, both are doubts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from labelsieve.estimation.transition import fit_transition
from labelsieve.features.zero_shot import softmax
from labelsieve.methods._posterior import select_reference
from labelsieve.methods._second_vote import is_asked, sees_errors, widened

K, N = 4, 500


def votes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names that take one class for another three times in ten, a probe that knows, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N)
    shown = np.where(rng.random(N) < 0.3, (labels + 1) % K, labels)
    noise = rng.standard_normal((2, N, K))
    names = softmax(3.0 * np.eye(K)[shown] + 0.5 * noise[0])
    return names, softmax(4.0 * np.eye(K)[labels] + 0.5 * noise[1]), labels


def test_a_probe_that_predicts_the_labels_is_a_doubt() -> None:
    names, probe, labels = votes()
    alone = fit_transition(names, labels)
    assert min(alone.rates) > 0.1, "the names' own mistakes pass for errors"
    sure = fit_transition(probe, labels)
    both = widened(alone, sure)
    assert min(both.rates) < 0.01 and max(both.rates) == max(alone.rates)
    # what predicts labels clearly worse says nothing against the names
    assert widened(sure, alone) is sure
    assert not sees_errors(sure)


class Judged:
    """A task, as far as one is asked."""

    def __init__(self, modality: str, labels: np.ndarray) -> None:
        self.encoder = SimpleNamespace(modality=modality)
        self.data = SimpleNamespace(labels=labels)
        self.seed = 0

    def reference_votes(self) -> dict[str, np.ndarray]:
        return {"text": votes()[0]}

    def out_of_fold(self) -> np.ndarray:
        return votes()[1].astype(np.float32)


def test_of_texts_alone() -> None:
    pictures, texts = (Judged(m, votes()[2]) for m in ("images", "texts"))
    assert not is_asked(pictures) and is_asked(texts)  # type: ignore[arg-type]
    least = [
        min(select_reference(task).transition.rates)  # type: ignore[arg-type]
        for task in (pictures, texts)
    ]
    assert least[0] > 0.1 > 0.01 > least[1]


def test_a_probe_that_sees_errors_is_the_reference() -> None:
    names, _, right = votes()
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(N) < 0.2, (right + 2) % K, right)
    wrong = labels != right
    reference = select_reference(Judged("texts", labels))  # type: ignore[arg-type]
    assert reference.name == "pictures"
    assert abs(reference.wrong_rate(labels) - wrong.mean()) < 0.03
    # by the names, their own mistakes would be wrong labels, too
    assert fit_transition(names, labels).rates[0] > wrong.mean() + 0.1
