from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve.data.labels import (
    NONE,
    SET,
    SINGLE,
    Labels,
    check_kind,
    occurring,
    read_set,
    write_set,
)
from labelsieve.errors import DataError, OptionError

WORDS = st.text(min_size=1, max_size=5)


def column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


@given(st.lists(WORDS, min_size=1, max_size=8))
def test_single_labels_come_back(labels: list[str]) -> None:
    coding = Labels(SINGLE, tuple(occurring(column(labels), SINGLE)))
    values = coding.encode(column(labels))
    assert values.dtype == np.int64 and values.shape == (len(labels),)
    assert coding.decode(values).to_pylist() == labels


@given(st.lists(st.sets(WORDS, max_size=4), min_size=1, max_size=8))
def test_sets_come_back(sets: list[set[str]]) -> None:
    texts = [write_set(one) for one in sets]
    coding = Labels(SET, tuple(occurring(column(texts), SET)))
    assert set(coding.classes) == set().union(*sets)
    values = coding.encode(column(texts))
    assert values.dtype == bool and values.shape == (len(sets), len(coding.classes))
    assert values.sum(1).tolist() == [len(one) for one in sets]
    assert coding.decode(values).to_pylist() == texts


def test_none_of_the_classes_is_null_or_an_empty_set() -> None:
    single = Labels(SINGLE, ("cat", "dog"))
    assert single.decode(np.array([1, NONE, 0])).to_pylist() == ["dog", None, "cat"]
    many = Labels(SET, ("cat", "dog"))
    assert many.encode(column(["[]"])).tolist() == [[False, False]]
    assert many.decode(np.zeros((1, 2), dtype=bool)).to_pylist() == ["[]"]


@pytest.mark.parametrize(("kind", "text"), [(SINGLE, "dgo"), (SET, '["cat", "dgo"]')])
def test_a_label_that_is_none_of_the_classes_is_named(kind: str, text: str) -> None:
    with pytest.raises(DataError, match=r"^Label 'dgo' is unknown.* mean 'dog'\?"):
        Labels(kind, ("cat", "dog")).encode(column([text]))


@pytest.mark.parametrize("text", ["cat", "{}", '["cat", 1]', "[" * 9])
def test_what_is_no_set_is_named(text: str) -> None:
    with pytest.raises(DataError, match="is not a set of labels"):
        read_set(text)


def test_a_set_is_one_text_however_it_is_written() -> None:
    assert write_set(["é", "b", "é"]) == write_set(["b", "é"]) == '["b", "é"]'


def test_a_kind_that_cannot_be_judged_is_refused() -> None:
    check_kind(SET, (SINGLE, SET))
    with pytest.raises(
        OptionError, match=r"one label per image; this needs .* a set of"
    ):
        check_kind(SINGLE, (SET,))
