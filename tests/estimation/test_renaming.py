"""Swapped and shifted names are seen; confusions, chance and few pictures are not."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.estimation.renaming import renamed


def planted(
    order: list[int], each: int = 30, errors: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Answers by name and labels of classes whose names were put into another order."""
    rng = np.random.default_rng(seed)
    k = len(order)
    truth = np.repeat(np.arange(k), each)
    wrong = rng.random(len(truth)) < errors
    answers = np.where(wrong, rng.integers(0, k, len(truth)), truth)
    return answers, np.array(order)[truth]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ([0, 1, 2, 3, 4, 5], {}),
        ([1, 0, 2, 3, 4, 5], {0: 1, 1: 0}),
        ([1, 2, 3, 4, 5, 0], {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 0: 5}),
        ([1, 0, 2, 4, 5, 3], {0: 1, 1: 0, 4: 3, 5: 4, 3: 5}),
    ],
)
def test_the_order_of_names_is_found(order: list[int], wanted: dict[int, int]) -> None:
    answers, labels = planted(order)
    assert renamed(answers, labels, len(order)) == wanted


def test_a_class_that_is_taken_for_its_neighbour_is_no_swap() -> None:
    answers, labels = planted([0, 1, 2, 3])
    answers[labels == 1] = 0  # every "elk" is answered "deer", and so are the deer
    assert renamed(answers, labels, 4) == {}


def test_many_wrong_labels_are_no_swap() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        truth = rng.integers(0, 10, 400)
        labels = np.where(
            rng.random(400) < 0.6, (truth + 1) % 10, truth
        )  # pair noise, 60 %
        answers = np.where(rng.random(400) < 0.3, rng.integers(0, 10, 400), truth)
        # sixty in a hundred labels are the next class's: the names might as well be off by one,
        # and only few draws are beyond doubt
        assert len(renamed(answers, labels, 10)) in (0, 10)


def test_answers_by_chance_say_nothing() -> None:
    rng = np.random.default_rng(0)
    found = [
        renamed(rng.integers(0, 6, 200), rng.integers(0, 6, 200), 6) for _ in range(200)
    ]
    assert not any(found)


def test_few_pictures_are_not_certain() -> None:
    answers, labels = planted([1, 0, 2], each=5, errors=0.0)
    assert renamed(answers, labels, 3) == {}
