"""The user's own numbers as a task has them: features of length one, probabilities by class."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.errors import DataError
from labelsieve.features import task as given

VALUES = np.array([[0.2, 0.6], [3.0, 1.0]], dtype=np.float32)


def test_features_have_length_one() -> None:
    scaled = given.unit(VALUES)
    assert np.allclose(np.linalg.norm(scaled, axis=1), 1) and scaled.dtype == np.float32
    assert np.allclose(scaled[1] / scaled[1, 1], VALUES[1])
    with pytest.raises(DataError, match="of 1 images is zero"):
        given.unit(np.array([[0, 0], [1, 1]], dtype=np.float32))


PROBS = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)


def test_answers_are_put_into_the_order_of_the_classes() -> None:
    found = given.answers(PROBS, ("dog", "cat"), ("cat", "dog"))
    assert np.allclose(found, [[0.75, 0.25], [0.25, 0.75]])
    assert np.allclose(given.answers(PROBS, None, ("cat", "dog")), found[:, ::-1])


def test_what_are_no_probabilities_is_named() -> None:
    with pytest.raises(DataError, match="no column for the class 'cow'"):
        given.answers(VALUES, ("dog", "cat"), ("cat", "cow"))
    with pytest.raises(DataError, match="2 columns, the data 3 classes"):
        given.answers(VALUES, None, ("a", "b", "c"))
    with pytest.raises(DataError, match="no probabilities"):
        given.answers(np.array([[1.5, -0.5]]), None, ("a", "b"))
    with pytest.raises(DataError, match=r"a row sums to 7\. Each row has to sum"):
        given.answers(np.array([[0.5, 0.5], [6.0, 1.0]]), None, ("a", "b"))
    with pytest.raises(DataError, match="0 for every class"):
        given.answers(np.array([[0.0, 0.0, 1.0]]), ("a", "b", "c"), ("a", "b"))
    with pytest.raises(DataError, match="two columns for the class 'a'"):
        given.answers(np.array([[0.5, 0.5, 0]]), ("a", "a", "b"), ("a", "b"))


def test_own_features_are_kept_in_the_cache(own_cache: object) -> None:
    features = given._OwnFeatures(given.unit(VALUES))
    assert features.file().is_file()
    assert np.array_equal(features.all(), given.unit(VALUES))
    assert np.array_equal(features.some(np.array([1])), given.unit(VALUES)[1:])
