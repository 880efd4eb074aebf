from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve.data.decoding.depth import (
    BYTE,
    SIXTEEN,
    UNIT,
    Extent,
    Range,
    extent_of,
    extent_of_high_bytes,
    to_uint8,
    white_of,
)
from labelsieve.errors import ImageError


def ramp(top: float, dtype: str) -> np.ndarray:
    return np.linspace(0, top, 4096).astype(dtype)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64", "float32"])
def test_white_is_the_largest_value_of_the_bits_that_are_used(
    bits: int, dtype: str
) -> None:
    assert white_of(extent_of([ramp(2**bits - 1, dtype)])) == 2**bits - 1


def test_wide_integers_have_more_bits() -> None:
    assert white_of(extent_of([ramp(2**20 - 1, "int32")])) == 2**20 - 1


@pytest.mark.parametrize(("top", "white"), [(1, UNIT), (1.1, UNIT), (250, BYTE)])
def test_floats_are_shares_or_gray_levels(top: float, white: int) -> None:
    assert white_of(extent_of([ramp(top, "float32")])) == white


def test_hot_pixels_and_dark_backgrounds_say_nothing() -> None:
    values = np.zeros(1_000_000, "uint16")
    values[:20_000] = ramp(4095, "uint16")[np.arange(20_000) % 4096]
    assert white_of(extent_of([values])) == 4095
    values[:10] = 65_535
    assert white_of(extent_of([values])) == 4095


def test_parts_are_as_the_whole() -> None:
    values = ramp(1000, "uint16")
    assert extent_of(np.split(values, 8)) == extent_of([values])
    assert Extent.from_json(extent_of([values]).to_json()) == extent_of([values])


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_upper_bytes_tell_as_much(bits: int) -> None:
    upper = (ramp(2**bits - 1, "uint16") >> 8).astype("uint8")
    assert white_of(extent_of_high_bytes([upper])) == 2**bits - 1


def test_values_far_below_zero_are_no_picture() -> None:
    with pytest.raises(ImageError, match="before normalisation"):
        extent_of([np.array([-1.0, 1.0])])


@pytest.mark.parametrize(
    ("white", "values", "grey"),
    [
        (UNIT, [0.0, 0.5, 1.04], [0, 128, 255]),
        (BYTE, [-1, 7, 300], [0, 7, 255]),
        (4095, [0, 2048, 4095], [0, 128, 255]),
        (SIXTEEN, [256, 257, 65_535], [1, 1, 255]),
    ],
)
def test_white_becomes_255(white: int, values: list[float], grey: list[int]) -> None:
    assert to_uint8(np.array(values), white).tolist() == grey


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=6))
def test_the_order_of_pictures_changes_nothing(tops: list[int]) -> None:
    extents = [extent_of([ramp(top, "uint16")]) for top in tops]
    whites = set()
    for order in itertools.islice(itertools.permutations(extents), 24):
        total = Range()
        for extent in order:
            total.add(extent)
        whites.add(total.white("uint16"))
    assert len(whites) == 1


def test_only_what_changes_is_told() -> None:
    full, twelve = Range(), Range()
    full.add(extent_of([ramp(65_535, "uint16")]))
    full.add(extent_of([ramp(300, "uint16")]))
    full.add(extent_of([ramp(1, "float32")]))
    assert full.changed() == {} and full.notes() == []
    twelve.add(extent_of([ramp(4095, "uint16")]))
    assert twelve.changed() == {"uint16": 4095}
    assert twelve.notes() == [
        "1 picture (uint16) with 12-bit values: 4095 is taken for white"
    ]
