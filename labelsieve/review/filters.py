"""What a person wants to see, and in which order; both stand in the address of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from urllib.parse import urlencode

import numpy as np

from labelsieve.errors import OptionError, unknown
from labelsieve.review.columns import Columns


@dataclass(frozen=True)
class Status:
    """What a scan said of images: a choice of the filters, in their words.

    Attributes:
        holds: [n] bool, a fresh array: of which images it is said.
    """

    title: str
    holds: Callable[[Columns], np.ndarray]


# by name in an address, in the order of the menu; any other word is the name of a queue
STATUSES = {
    "flagged": Status("Suspects", lambda columns: columns.flagged.copy()),
    "all": Status("All images", lambda columns: np.ones(len(columns), dtype=bool)),
    "kept": Status("Not suspected", lambda columns: ~columns.flagged),
    "outsiders": Status("Of no class", lambda columns: columns.outside.copy()),
}
# what the map tells apart, by number; `map.js` has a colour for each
MARKS = (
    "not suspected",
    "suspect",
    "label is right",
    "relabelled",
    "no class or wrong",
)
# "open": not settled; the others: what people said
DECIDED = ("open", "settled", "keep", "changed", "none", "wrong", "skip", "any")
SORTS = ("suspicion", "gain", "pair", "class", "name", "similar")
GRID = 65_535  # coordinates of the map are whole numbers from 0 to this
DIGITS = 18  # of a whole number in an address: fits into 64 bits
CORNERS = 512  # of a lasso: more than a hand draws, and less than an address takes


@dataclass(frozen=True)
class Filters:
    """Which images; the defaults are the suspects that nobody settled.

    Attributes:
        given: label; None: any.
        suggested: suggestion; None: any.
        least: probability that the label is wrong, at least.
        show: of `STATUSES`, or the name of a queue of `labelsieve.runs.reasons.queues`.
        decided: of `DECIDED`: what people said.
        text: a part of the path, whatever its case.
        lasso: corners of a shape on the map, "x,y,x,y,…" from 0 to 65535.
    """

    given: str | None = None
    suggested: str | None = None
    least: float = 0.0
    show: str = "flagged"
    decided: str = "open"
    text: str = ""
    lasso: str = ""

    @cached_property
    def corners(self) -> np.ndarray:
        """[m, 2] float: the lasso's corners; none where it is not one."""
        parts = [part for part in self.lasso.split(",") if part.strip().isdecimal()]
        numbers = np.array(parts[: 2 * CORNERS], dtype=float)
        return numbers[: len(numbers) // 2 * 2].reshape(-1, 2)


DEFAULT = Filters()


@dataclass(frozen=True)
class Sorting:
    """The order of a grid.

    Attributes:
        by: of `SORTS`; pair: confusions together, the most frequent first.
        like: row that is looked for with "similar".
    """

    by: str = "suspicion"
    like: int = -1


def to_query(filters: Filters, window: str, **more: object) -> str:
    """Filters and window as the query of an address; what is as by default is left out."""
    wanted = {"w": window}
    for field in fields(Filters):
        value = getattr(filters, field.name)
        if value not in (None, field.default):
            wanted[field.name] = value
    wanted |= {name: str(value) for name, value in more.items() if value}
    return urlencode(wanted)


def inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """[n] bool: points [n, 2] within a closed shape, by counting the edges to their right.

    Sources: the even-odd rule; Shimrat, Algorithm 112, CACM 5 (1962).
    """
    within = np.zeros(len(points), dtype=bool)
    if len(corners) < 3:
        return within
    # only points in the box around the shape are looked at
    low, high = corners.min(0), corners.max(0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(1))
    x, y = points[near, 0].astype(float), points[near, 1].astype(float)
    odd = np.zeros(len(near), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crossed = (y1 > y) != (y2 > y)
        odd ^= crossed & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    within[near] = odd
    return within


def read_filters(values: Mapping[str, str]) -> Filters:
    """Filters as an address or a form names them; what is missing is as by default.

    Raises:
        OptionError: a value that there is not.
    """
    least = _share(values.get("least") or "0")
    return Filters(
        given=values.get("given") or None,
        suggested=values.get("suggested") or None,
        least=least,
        show=values.get("show") or DEFAULT.show,
        decided=_one_of(DECIDED, values.get("decided") or DEFAULT.decided),
        text=values.get("text") or "",
        lasso=values.get("lasso") or "",
    )


def read_sorting(values: Mapping[str, str]) -> Sorting:
    """The order as an address names it; raises as `read_filters`."""
    like = whole(values.get("like") or "")
    number = -1 if like is None else like
    return Sorting(_one_of(SORTS, values.get("sort") or "suspicion"), number)


def whole(text: str) -> int | None:
    """A whole number as an address writes it; None for anything else."""
    text = text.strip()
    # Python refuses to read thousands of digits, and no run has so many rows
    if not text.isdecimal() or len(text) > DIGITS:
        return None
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    # NaN is not, either
    if not 0 <= share <= 1:
        raise OptionError(f"'{text}' is not a share from 0 to 1.")
    return share


def _one_of(known: tuple[str, ...], value: str) -> str:
    if value not in known:
        raise OptionError(unknown("Filter", value, known))
    return value
