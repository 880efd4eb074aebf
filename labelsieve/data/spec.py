"""What the user said about the data, and numbers of the user's own, joined with images by id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.errors import DataError

TEMPLATE = "a photo of a {}."  # of prompts, where nothing else is said
# Columns that name the rows of a table of embeddings or probabilities.
ID_NAMES = ("sample_id", "id")
AT_ONCE = 16_384  # ids that are written out at once


@dataclass(frozen=True)
class DataSpec:
    """What the user said about the data: the command line's words, unchanged.

    Attributes:
        data: a path, a hub id, or in Python a data set object.
        image_column, label_column, truth_column, id_column: of a table or hub data set.
        text_column: likewise, in the place of `image_column` where texts are judged.
        side_text_column: of a table, texts that stand beside pictures, such as titles or tags.
        label_separator: what stands between the labels of a set in one text, such as "|"; "none"
            where such a text is one label.
        vote_columns: columns of the labels that several people gave, comma-separated names or
            patterns ("label_*").
        count_columns: likewise columns of classes, that say how many people, or which share,
            chose each.
        items: "boxes" or "images": what is judged where the data have boxes.
        urls: hosts whose pictures may be fetched, comma-separated, where the data name URLs.
        root: the folder that image paths in a table are relative to; for class folders one into
            which links may lead.
        split: the part to read, such as "train".
        class_names: label -> how it is written into prompts.
        embeddings, pred_probs: the user's own, in the place of a model's.
        rows_match: those without ids have a row for each row of the data, in their order.
        template: of plain prompts, with {} for the class name.
        labelled: False for images to classify: labels may be missing, and folders need no
            classes.
    """

    data: Any
    image_column: str | None = None
    label_column: str | None = None
    truth_column: str | None = None
    id_column: str | None = None
    label_separator: str | None = None
    vote_columns: str | None = None
    count_columns: str | None = None
    items: str | None = None
    urls: str | None = None
    root: str | None = None
    split: str | None = None
    text_column: str | None = None
    side_text_column: str | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    template: str = TEMPLATE
    labelled: bool = True
    embeddings: Given | None = None
    pred_probs: Given | None = None
    rows_match: bool = False

    def path(self) -> Path | None:
        """`data` as a path, None when it is an object."""
        # also of hf://OWNER/NAME, which is no file: a source that knows it looks first
        return Path(self.data) if isinstance(self.data, str | Path) else None


@dataclass(frozen=True, eq=False)
class Given:
    """Numbers of a user's own for some images.

    Attributes:
        ids: [m] sample ids or what stands in them before "#": the user's ids, paths, row numbers.
            None where rows are those of the data, because the user said so.
        values: [m, d] float32: embeddings, or probabilities of classes.
        classes: of probabilities, the label of each column; None is the labels, sorted.
        what: for messages, such as "embeddings".
    """

    ids: pa.StringArray | None
    values: np.ndarray
    classes: tuple[str, ...] | None
    what: str

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of ids and numbers."""
        total = hashlib.sha256(np.ascontiguousarray(self.values).data)
        for text in self._written():
            total.update(text.encode())
        return total.hexdigest()[:16]

    def _written(self) -> Iterator[str]:
        """`repr((classes, ids))`, of which only a part is in memory."""
        if self.ids is None:
            yield repr((self.classes, None))
            return
        yield f"({self.classes!r}, ["
        for start in range(0, len(self.ids), AT_ONCE):
            names = self.ids.slice(start, AT_ONCE).to_pylist()
            yield ", " if start else ""
            yield repr(names)[1:-1]
        yield "])"

    def rows_of(self, sample_ids: pa.Array, manifest_ids: Sequence[str]) -> np.ndarray:
        """[n, d] the numbers of these images.

        Args:
            sample_ids: [n] of the images.
            manifest_ids: of all rows of the data, in their order, for numbers without ids.

        Raises:
            DataError: an image has none, or there is another number of rows than of images.
        """
        ids = self.ids
        if ids is None:
            ids = self._by_position(manifest_ids)
        at = pc.fill_null(pc.index_in(sample_ids, ids), -1).to_numpy()
        # the part before the hash is what a user knows an image by
        keys = pc.replace_substring_regex(sample_ids, "#[^#]*$", "")
        by_key = pc.fill_null(pc.index_in(keys, ids), -1).to_numpy()
        numbers = pc.replace_substring_regex(keys, "^row", "")
        by_number = pc.fill_null(pc.index_in(numbers, ids), -1).to_numpy()
        rows = np.where(at >= 0, at, np.where(by_key >= 0, by_key, by_number))
        missing = int((rows < 0).sum())
        if missing:
            first = sample_ids[int((rows < 0).argmax())].as_py()
            raise DataError(
                f"{self.what} lack {missing:,} of {len(rows):,} images (first: '{first}').",
                "Rows are joined by id: the path below the folder, the id column, or the "
                "index of the data frame.",
            )
        found: np.ndarray = self.values[rows]
        return found

    def _by_position(self, manifest_ids: Sequence[str]) -> pa.StringArray:
        if len(manifest_ids) != len(self.values):
            raise DataError(
                f"{self.what} have {len(self.values):,} rows, the data "
                f"{len(manifest_ids):,}: they cannot be matched by position.",
                "Give ids with them.",
            )
        # the order in which the source gives them
        return pa.array(manifest_ids, pa.string())


def given(value: Any, what: str, *, rows_match: bool = False) -> Given:
    """Embeddings or probabilities from what people have them in.

    Args:
        value: a mapping of id to numbers, a pandas frame (ids in its index, or in a column "id"
            or "sample_id"), a polars frame or Arrow table with such a column, (ids, array), or an
            array [m, d].
        what: for messages.
        rows_match: an array without ids has a row for each row of the data, in their order.

    Raises:
        DataError: no ids, an id twice, or no numbers.
    """
    if isinstance(value, Given):
        return value
    # whatever it came in, from here on it is ids and an array
    ids, values, classes = _parts(value, what)
    if ids is None and not rows_match:
        raise DataError(
            f"{what} have no ids, and nothing is matched by position unless you say so.",
            "Give (ids, array), a data frame, or rows_match=True.",
        )
    array = _numbers(values, what)
    if ids is None:
        return Given(None, array, classes, what)
    named = pa.array([str(i) for i in ids], pa.string())
    if len(named) != len(array) or len(pc.unique(named)) != len(named):
        raise DataError(
            f"{what} have {len(array):,} rows and not as many different ids."
        )
    return Given(named, array, classes, what)


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        raw = np.asarray(values)
        # a cast would drop the imaginary part, and make numbers of dates
        if raw.dtype.kind in "cmM":
            raise TypeError(raw.dtype)
        # numbers that float32 cannot hold are told below
        with np.errstate(over="ignore"):
            array = raw.astype(np.float32)
    # ragged rows, texts, an integer of hundreds of digits
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{what} are not an array of numbers.") from error
    if array.ndim != 2 or not np.isfinite(array).all():
        raise DataError(
            f"{what} have the shape {array.shape}, or numbers that are not finite.",
            "An array [images, numbers] is needed.",
        )
    return array


def _parts(value: Any, what: str) -> tuple[Any, Any, tuple[str, ...] | None]:
    """Ids or None, numbers, and names of their columns or None."""
    if isinstance(value, tuple) and len(value) == 2:
        return list(value[0]), value[1], None
    if isinstance(value, Mapping):
        return list(value), list(value.values()), None
    names = getattr(value, "column_names", getattr(value, "columns", None))
    if names is None or callable(names):
        return None, value, None
    return _of_frame(value, list(names), what)


def _of_frame(
    frame: Any, names: list[Any], what: str
) -> tuple[Any, Any, tuple[str, ...] | None]:
    column = next((name for name in ID_NAMES if name in names), None)
    others = [name for name in names if name != column]
    if column is not None:
        ids = list(np.asarray(frame[column]).tolist())
    elif hasattr(frame, "index") and not callable(frame.index):
        ids = frame.index.tolist()
    else:
        raise DataError(f"{what} have no column {' or '.join(ID_NAMES)}.")
    values = [np.asarray(frame[name]) for name in others]
    # one column of lists, as Parquet keeps vectors
    if len(others) == 1 and values[0].dtype == object:
        return ids, [list(row) for row in values[0]], None
    # pandas has columns named by numbers
    return ids, np.stack(values, 1), tuple(str(name) for name in others)
