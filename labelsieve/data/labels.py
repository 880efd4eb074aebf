"""Labels: one class per item, a set of classes per item, or none of the classes.

A source gives each row's label as a text; here, and nowhere else, the texts become the array
that methods see. What a method gives back about labels has the shape of that array.

A source whose rows have sets says so with an attribute `labels_are = "set"` and writes each set
with `write_set`; all other sources give one label per row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.errors import DataError, OptionError, unknown

SINGLE = "single"
SET = "set"
# How the kinds are called in messages.
CALLED = {SINGLE: "one label per image", SET: "a set of labels per image"}
# The number of "none of the classes" among single labels: what an open-set method suggests,
# and what an item without a label has. An empty set says the same among sets.
NONE = -1


def write_set(labels: Iterable[str]) -> str:
    """A set of labels as one text: the same set always gives the same text."""
    return json.dumps(sorted(set(labels)), ensure_ascii=False)


def read_set(text: str) -> list[str]:
    """The labels of a text that `write_set` wrote.

    Raises:
        DataError: the text is not a list of labels.
    """
    try:
        labels = json.loads(text)
    except ValueError:
        labels = None
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise DataError(
            f"'{text}' is not a set of labels.",
            'Sets are written as JSON lists, such as ["cat", "dog"].',
        )
    return labels


def in_order(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """A new set in the order of the old one: what stays keeps its place, what is new follows.

    Args:
        old: labels as a person wrote them.
    """
    before, wanted = list(old), list(new)
    stay = [label for label in before if label in wanted]
    return stay + [label for label in wanted if label not in before]


def occurring(texts: pa.ChunkedArray, kind: str) -> list[str]:
    """The classes that occur in [n] labels, sorted, so that the order of rows changes nothing."""
    distinct = pc.unique(texts.drop_null()).to_pylist()
    if kind == SINGLE:
        return sorted(distinct)
    # the same sets occur again and again: each is read once
    classes: set[str] = set()
    for text in distinct:
        classes.update(read_set(text))
    return sorted(classes)


@dataclass(frozen=True)
class Labels:
    """The labels of a data set: of which kind they are, and the classes they are made of."""

    kind: str
    classes: tuple[str, ...]

    def encode(self, texts: pa.ChunkedArray) -> np.ndarray:
        """Labels as methods see them.

        Args:
            texts: [n] given labels as the manifest has them, none of them null.

        Returns:
            [n] int64 class numbers, or of sets [n, k] bool, whether each class is in it.

        Raises:
            DataError: a label is none of the classes.
        """
        if self.kind == SINGLE:
            return self._numbers(texts)
        sets = [read_set(text) for text in texts.to_pylist()]
        # each label with the row it belongs to
        rows = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
        labels = pa.array([label for one in sets for label in one], pa.string())
        values = np.zeros((len(sets), len(self.classes)), dtype=bool)
        values[rows, self._numbers(pa.chunked_array([labels]))] = True
        return values

    def _numbers(self, texts: pa.ChunkedArray) -> np.ndarray:
        # null where a label is none of the classes
        numbers = pc.index_in(texts, pa.array(self.classes, pa.string()))
        if numbers.null_count:
            stranger = texts.filter(pc.is_null(numbers))[0].as_py()
            raise DataError(
                unknown("Label", stranger, self.classes),
                "The model knows only the classes it was trained on.",
            )
        return numbers.to_numpy().astype(np.int64)

    def decode(self, values: np.ndarray) -> pa.Array:
        """Texts [n] of what `encode` gives; null for none of the classes.

        Args:
            values: [n] int64, `NONE` for none of the classes; of sets [n, k] bool.
        """
        if self.kind == SINGLE:
            # NONE is -1, which picks the null behind the last class
            names = np.array([*self.classes, None], dtype=object)
            return pa.array(names[values], pa.string())
        texts = []
        for row in values:
            chosen = [self.classes[k] for k in np.flatnonzero(row)]
            texts.append(write_set(chosen))
        return pa.array(texts, pa.string())


def check_kind(kind: str, judged: Sequence[str]) -> None:
    """Refuse data whose labels are of a kind that cannot be judged.

    Args:
        judged: kinds that can be.

    Raises:
        OptionError: says what the data have, and what is needed.
    """
    if kind not in judged:
        needed = " or ".join(CALLED[k] for k in judged)
        raise OptionError(
            f"The data have {CALLED[kind]}; this needs data with {needed}.",
            "Name data of that kind; a scan may also take a --method that judges the other.",
        )
