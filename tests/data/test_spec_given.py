"""Own numbers are joined with images by id, from whatever people have them in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.data.spec import given
from labelsieve.errors import DataError

IDS = ["cat/1.png", "row7", "dog/2.png"]
VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
# as a scan names them: the user's key and a hash
SAMPLES = pa.array(["row7#ab12", "dog/2.png#cd34", "cat/1.png#ef56"])


def forms() -> dict[str, Any]:
    found: dict[str, Any] = {
        "mapping": dict(zip(IDS, VALUES, strict=True)),
        "pair": (IDS, VALUES),
        "arrow": pa.table({"id": IDS, **{f"c{k}": VALUES[:, k] for k in range(4)}}),
        "lists": pa.table({"sample_id": IDS, "vector": list(VALUES.tolist())}),
    }
    try:
        import pandas

        found["index"] = pandas.DataFrame(VALUES, index=IDS)
    except ImportError:
        pass
    return found


@pytest.mark.parametrize("name", ["mapping", "pair", "arrow", "lists", "index"])
def test_every_form_gives_the_rows_of_the_images(name: str) -> None:
    if name not in forms():
        pytest.skip("pandas is not installed")
    rows = given(forms()[name], "embeddings").rows_of(SAMPLES, [])
    assert np.array_equal(rows, VALUES[[1, 2, 0]])


def test_whole_sample_ids_and_numbers_of_rows_are_ids_too() -> None:
    whole = given((SAMPLES.to_pylist(), VALUES), "embeddings")
    assert np.array_equal(whole.rows_of(SAMPLES, []), VALUES)
    numbers = given(([7], VALUES[:1]), "embeddings")
    assert np.array_equal(numbers.rows_of(SAMPLES[:1], []), VALUES[:1])


def test_by_position_only_where_the_user_says_so() -> None:
    with pytest.raises(DataError, match="nothing is matched by position"):
        given(VALUES, "embeddings")
    own = given(VALUES, "embeddings", rows_match=True)
    # the data's order, not that of the images after sorting by content
    assert np.array_equal(own.rows_of(SAMPLES, IDS), VALUES[[1, 2, 0]])
    with pytest.raises(DataError, match="3 rows, the data 2"):
        own.rows_of(SAMPLES, IDS[:2])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ((["a", "a"], VALUES[:2]), "not as many different ids"),
        ((["a"], VALUES), "not as many different ids"),
        ((["a"], [[np.nan]]), "not finite"),
        ((["a"], [["x"]]), "not an array of numbers"),
        ((["a"], [1.0]), "shape"),
        (pa.table({"c": [1.0]}), "no column sample_id or id"),
    ],
)
def test_what_is_wrong_is_named(value: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        given(value, "embeddings")


def test_an_image_without_numbers_is_named() -> None:
    with pytest.raises(
        DataError, match=r"lack 1 of 3 images \(first: 'dog/2.png#cd34'"
    ):
        given((IDS[:2], VALUES[:2]), "embeddings").rows_of(SAMPLES, [])


def test_the_digest_is_of_ids_and_numbers() -> None:
    first = given((IDS, VALUES), "embeddings").digest
    assert first == given((IDS, VALUES.copy()), "other words").digest
    assert first != given((IDS[::-1], VALUES), "embeddings").digest
    assert first != given((IDS, VALUES + 1), "embeddings").digest
