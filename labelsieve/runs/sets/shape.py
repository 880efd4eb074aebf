"""Whether labels of a run, which may be a stranger's, are made of its classes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET, SINGLE, occurring
from labelsieve.errors import DataError


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
