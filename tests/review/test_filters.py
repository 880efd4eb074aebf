"""What a person wants to see: read from an address, written to one, and shapes on the map."""

from __future__ import annotations

from urllib.parse import parse_qsl

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.errors import OptionError
from labelsieve.review.filters import (
    DECIDED,
    DEFAULT,
    Filters,
    Sorting,
    inside,
    read_filters,
    read_sorting,
    to_query,
)


@given(
    st.builds(
        Filters,
        given=st.none() | st.text(min_size=1),
        suggested=st.none() | st.text(min_size=1),
        least=st.floats(0, 1).map(lambda p: round(p, 3)),
        show=st.sampled_from(["flagged", "kept", "all", "dark"]),
        decided=st.sampled_from(DECIDED),
        text=st.text(),
        lasso=st.sampled_from(["", "1,2,3,4,5,6"]),
    )
)
@settings(max_examples=100)
def test_filters_survive_in_an_address(filters: Filters) -> None:
    query = dict(parse_qsl(to_query(filters, "w1"), keep_blank_values=True))
    assert query.pop("w") == "w1"
    assert read_filters(query) == filters


def test_an_address_names_what_is_not_as_usual() -> None:
    assert to_query(DEFAULT, "w1") == "w=w1"
    query = to_query(Filters("a b", least=0.5, show="all"), "w1", row=3)
    assert query == "w=w1&given=a+b&least=0.5&show=all&row=3"


@pytest.mark.parametrize(
    "wrong",
    [{"least": "x"}, {"least": "nan"}, {"least": "1.5"}, {"decided": "perhaps"}],
)
def test_nonsense_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(OptionError):
        read_filters(wrong)


def test_an_order_is_read() -> None:
    assert read_sorting({}) == Sorting()
    assert read_sorting({"sort": "similar", "like": "7"}) == Sorting("similar", 7)
    assert read_sorting({"sort": "similar", "like": "x"}).like == -1
    with pytest.raises(OptionError, match="suspicion"):
        read_sorting({"sort": "size"})


def crossings(x: float, y: float, corners: np.ndarray) -> bool:
    """The winding number, by angles: another rule than the one under test."""
    turn = 0.0
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        one = np.arctan2(a[1] - y, a[0] - x)
        two = np.arctan2(b[1] - y, b[0] - x)
        turn += (two - one + np.pi) % (2 * np.pi) - np.pi
    return round(abs(turn) / (2 * np.pi)) % 2 == 1


def test_a_lasso_catches_what_lies_inside() -> None:
    random = np.random.default_rng(0)
    for sides in (3, 4, 7, 40):
        # a star: not convex, and its edges do not cross each other
        angles = np.sort(random.uniform(0, 2 * np.pi, sides))
        lengths = random.uniform(100, 500, sides)
        corners = np.stack([np.cos(angles), np.sin(angles)], 1) * lengths[:, None] + 600
        points = random.integers(0, 1200, (300, 2)) + 0.5
        wanted = [crossings(x, y, corners) for x, y in points]
        assert inside(points, corners).tolist() == wanted
        assert any(wanted) or sides == 3


def test_what_is_no_shape_catches_nothing() -> None:
    points = np.zeros((4, 2))
    for text in ("", "1,2,3,4", "a,b,c,d,e,f", "1,2,3,4,5", "-1,2,3,4,5,x"):
        assert not inside(points, Filters(lasso=text).corners).any()
    assert Filters(lasso=",".join(["1"] * 10_000)).corners.shape == (512, 2)
