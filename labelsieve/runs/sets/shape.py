"""What files of a run of sets of labels, which may be a stranger's, hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET, SINGLE, occurring
from labelsieve.errors import DataError

LARGEST = 2**53  # of what is counted
SHARES = ("rate", "low", "high")


def are_shares(value: Any) -> bool:
    """Whether each name has a share with its interval, and how many labels these are."""
    if not isinstance(value, dict):
        return False
    for about in value.values():
        numbers = about if isinstance(about, dict) else {}
        for name in (*SHARES, "count"):
            number: Any = numbers.get(name)
            most = 1 if name in SHARES else LARGEST
            known = isinstance(number, int | float) and not isinstance(number, bool)
            # a comparison with NaN is false
            if not known or not -1e-6 <= number <= most + 1e-6:
                return False
    return True


def are_known(judged: pa.Table, classes: list[str], kind: str) -> bool:
    """Whether the labels of all judged images are of the classes.

    Args:
        judged: scores of images that were judged.
        kind: of the labels; of sets the suggested ones count, too, as they are read as sets.
    """
    if kind == SINGLE:
        named = pc.is_in(judged["given_label"], pa.array(classes, pa.string()))
        return bool(pc.all(named, min_count=0).as_py())
    for name in ("given_label", "suggested_label"):
        # every judged image has both
        if judged[name].null_count:
            return False
        try:
            found = occurring(judged[name], SET)
        except DataError:  # no set at all
            return False
        if not set(found).issubset(classes):
            return False
    return True
