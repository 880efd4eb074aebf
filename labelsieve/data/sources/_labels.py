"""The label of a row of a table: one cell, a set of labels, or the votes of several people.

What one text with a separator in it means is never guessed: the user is asked. Of votes the
majority is judged, and how many agree with it is kept.
"""

from __future__ import annotations

import fnmatch
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labelsieve.data.labels import SET, SINGLE, in_order, read_set, write_set
from labelsieve.data.sources import label_text
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, unknown
from labelsieve.progress import counted

# What people put between the labels of a set. Of the first two no name of a class is made.
SURE_MARKS = ("|", ";")
OTHER_MARKS = (",",)
# The word of --label-separator for labels that hold a mark and are one label nevertheless.
NONE = "none"
TIE = 1e-9  # shares that differ by less are the same: decimal fractions are rounded

Names = Mapping[
    str, list[str] | None
]  # column -> class names, where it holds their numbers


@dataclass(frozen=True)
class Labelling:
    """How labels are read.

    Attributes:
        columns: of labels, or of votes.
        form: "one" label in a cell; a "set" joined by `separator`; a "list" in a cell; "votes",
            where each column is a person; "counts", where each column is a class and its cell
            says how many, or which share, chose it.
        separator: of a set in one text.
        empty: whether a cell of a set that holds nothing is the empty set, and not a missing label;
            a CSV file cannot tell them apart.
    """

    columns: tuple[str, ...]
    form: str = "one"
    separator: str = ""
    empty: bool = False

    @property
    def kind(self) -> str:
        """Of `labelsieve.data.labels`."""
        return SET if self.form in ("set", "list") else SINGLE

    def read(
        self, record: Mapping[str, Any], names: Names
    ) -> tuple[str | None, float | None]:
        """Label of a record, and the share of votes that agree with it; None where there is none.

        Raises:
            DataError: a count is no number.
        """
        # several columns, of which one label is made
        if self.form in ("votes", "counts"):
            return majority(_votes(self, record, names))
        column = self.columns[0]
        cell = record[column]
        if self.form == "one":
            return label_text(cell, names.get(column)), None
        return self._of_cell(cell, names.get(column)), None

    def truth(self, cell: Any, names: list[str] | None) -> str | None:
        """A true label, which is written as given ones are."""
        if self.kind == SINGLE:
            return label_text(cell, names)
        return self._of_cell(cell, names)

    def _of_cell(self, cell: Any, names: list[str] | None) -> str | None:
        """The set of a cell as one text; None where it has no label."""
        if self.form == "list":
            return _set(cell, names)
        blank = cell is None or (isinstance(cell, str) and not cell.strip())
        if blank and self.empty:
            return write_set([])
        return _set(_split(cell, self.separator), names)

    def cell(self, label: str, old: str = "") -> str:
        """A label as it is written into a text cell: the inverse of `read`.

        Args:
            old: what the cell held: a set keeps its order, and the spaces between its labels.
        """
        if self.form != "set":
            return label
        spaced = f"{self.separator} "
        between = spaced if spaced in old else self.separator
        before = _split(old, self.separator) or []
        return between.join(in_order(before, read_set(label)))


def _set(cells: Iterable[Any] | None, names: list[str] | None) -> str | None:
    """A set of labels as one text; an empty list is the empty set, no list is no label."""
    if cells is None:
        return None
    labels = [label_text(cell, names) for cell in cells]
    return write_set(label for label in labels if label is not None)


def _split(cell: Any, separator: str) -> list[str] | None:
    text = label_text(cell)
    if text is None:
        return None
    # "a| b|" has two labels: people leave spaces, programs a mark at the end
    parts = [part.strip() for part in text.split(separator)]
    return [part for part in parts if part]


# --- several annotators


def _votes(
    labelling: Labelling, record: Mapping[str, Any], names: Names
) -> dict[str, float]:
    """Label -> how many, or which share, chose it."""
    votes: dict[str, float] = defaultdict(float)
    for column in labelling.columns:
        if labelling.form == "votes":
            label = label_text(record[column], names.get(column))
            # who did not answer has no vote
            if label is not None:
                votes[label] += 1
        else:
            # "image, cat, dog": the space behind a comma is no part of a class
            votes[column.strip()] += _count(record[column], column)
    return votes


def _count(cell: Any, column: str) -> float:
    # an empty cell counts as nobody
    if cell is None or cell == "":
        return 0.0
    try:
        count = float(cell)
    except (TypeError, ValueError):
        count = math.nan
    # also false for NaN, which compares with nothing
    if not 0 <= count < math.inf:
        raise DataError(
            f"--count-columns: '{column}' holds '{cell}', which counts nothing.",
            "Counts and shares are numbers from 0 on.",
        )
    return count


def majority(
    votes: Mapping[str, float],
) -> tuple[str | None, float | None]:
    """The label with most votes and its share of them; no label where two have as many."""
    most = max(votes.values(), default=0.0)
    if not most:
        return None, None
    # of the largest: sums of numbers near the end of floats would be infinite
    shares = [number / most for number in votes.values()]
    total = sum(shares)
    # the two largest decide
    first, *others = sorted(shares, reverse=True)
    share = first / total
    if others and first - others[0] <= TIE * total:
        return None, share
    return max(votes, key=lambda label: votes[label]), share


class Tally:
    """What votes of a whole data set say, for its notes."""

    def __init__(self) -> None:
        self._rows, self._ties, self._agreement = 0, 0, 0.0

    def add(self, label: str | None, agreement: float | None) -> None:
        """Count a row."""
        if agreement is not None:
            self._rows += 1
            self._ties += label is None
            self._agreement += agreement

    def notes(self) -> list[str]:
        """Nothing where nobody voted."""
        if not self._rows:
            return []
        share = f"{100 * self._agreement / self._rows:.1f} %"
        text = (
            f"the label is the majority of votes, and on average {share} of them agree"
        )
        if self._ties:
            text += f"; {counted(self._ties, 'image', 'has', 'have')} no majority and no label"
        return [text]


# --- which form


def named_columns(
    patterns: str, flag: str, columns: Sequence[str], where: str
) -> list[str]:
    """Columns that comma-separated names and patterns ("vote_*") mean, in the table's order.

    Raises:
        DataError: a name is no column, or a pattern fits none.
    """
    wanted: set[str] = set()
    for pattern in patterns.split(","):
        name = pattern.strip()
        fitting = [
            c for c in columns if name in (c, c.strip()) or fnmatch.fnmatchcase(c, name)
        ]
        if not fitting:
            problem = unknown("Column", name, columns)
            raise DataError(f"{flag}: {problem}", f"Table: '{where}'.")
        wanted.update(fitting)
    # in the order of the table, whatever order they were typed in
    return [column for column in columns if column in wanted]


def voted(spec: DataSpec, columns: Sequence[str], where: str) -> Labelling | None:
    """The votes that the user named columns of; None where there are none.

    Raises:
        OptionError: two options say what the label is.
        DataError: a column is not there, or a single one is no vote.
    """
    options = {
        "--label-column": spec.label_column,
        "--vote-columns": spec.vote_columns,
        "--count-columns": spec.count_columns,
    }
    # which of them is meant is not guessed
    given = [flag for flag, value in options.items() if value is not None]
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} exclude each other.", "Give one.")
    if not given or given[0] == "--label-column":
        return None
    flag = given[0]
    chosen = named_columns(str(options[flag]), flag, columns, where)
    if len(chosen) < 2:
        raise DataError(
            f"{flag} names one column, '{chosen[0]}'.",
            "Several are needed; one column of labels is what --label-column names.",
        )
    form = "votes" if flag == "--vote-columns" else "counts"
    return Labelling(tuple(chosen), form)


def of_column(
    column: str, kind: pa.DataType, separator: str | None, *, empty: bool = False
) -> Labelling:
    """How one column of labels is read; `empty` as in `Labelling`."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return Labelling((column,), "list")
    # without an answer, too: what is ambiguous is asked about when rows are read
    if separator in (None, NONE):
        return Labelling((column,))
    return Labelling((column,), "set", separator or "", empty)


def ask_for_separator(labels: Iterable[str], where: str) -> None:
    """Refuse labels that may be sets, in one line that says how to tell.

    A label with "|" or ";" in it may be one. One with a comma may be one where its parts stand
    elsewhere, too, alone or in other company: "tench, Tinca tinca" is a name.

    Raises:
        DataError: the user has to say what they are.
    """
    # the same labels come again and again
    distinct = set(labels)
    for mark in (*SURE_MARKS, *OTHER_MARKS):
        joined = [label for label in distinct if _joins(label, mark)]
        if mark in OTHER_MARKS:
            joined = _recurring(joined, distinct, mark)
        if joined:
            raise DataError(
                f"{len(joined)} labels of '{where}' look like sets of labels, such as "
                f"'{min(joined)}'.",
                f"Give --label-separator '{mark}' if they are, or --label-separator "
                f"{NONE} if each is one label.",
            )


def _joins(label: str, mark: str) -> bool:
    return mark in label and all(part.strip() for part in label.split(mark))


def _recurring(joined: Sequence[str], distinct: set[str], mark: str) -> list[str]:
    """Labels all of whose parts are labels, or parts of other labels."""
    homes: dict[str, int] = defaultdict(int)
    for label in joined:
        for part in {part.strip() for part in label.split(mark)}:
            homes[part] += 1
    found = []
    for label in joined:
        parts = [part.strip() for part in label.split(mark)]
        if all(homes[part] > 1 or part in distinct for part in parts):
            found.append(label)
    return found
