"""The scored images of a run as columns: a million rows take megabytes, not gigabytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.runs.run import Run
from labelsieve.tables import OUTSIDER, one_chunk

FITS = "fits"  # labelsieve.estimation.agreement.FITS
SEARCHES = 8  # texts whose rows are kept: what one person types letter by letter


class Columns:
    """What a scan found, one entry per scored image, in the order of the run's scores.

    Attributes:
        ids: [n] sample ids.
        paths: [n] what a person reads.
        classes: the labels that occur, sorted.
        given: [n] int32 number of the given label.
        flagged: [n] bool what the scan flagged.
        outside: [n] bool what it holds to belong to no class.
        at: rows by sample id.
        prompts_tell: whether prompts were trained, and the model reads the classes at all.
    """

    def __init__(self, opened: Run) -> None:
        # images that could not be read are not shown: there is nothing to look at
        scored = opened.judged
        self._scored = scored
        self.ids = one_chunk(scored["sample_id"])
        self.paths = one_chunk(scored["path"])
        self.classes: list[str] = opened.classes
        names = pa.array(self.classes, pa.string())
        given = pc.index_in(scored["given_label"], names)
        self.given = pc.fill_null(given, -1).to_numpy().astype(np.int32)
        flagged = pc.fill_null(scored["is_label_issue"], False)
        self.flagged = np.asarray(flagged.to_numpy(), dtype=bool)
        outside = pc.equal(scored["status"], OUTSIDER)
        self.outside = np.asarray(outside.to_numpy(zero_copy_only=False), dtype=bool)
        self.at = opened.at
        # runs of earlier versions do not say
        agreement = opened.record.get("agreement", {})
        fits = agreement.get("verdict", FITS) == FITS
        # untrained negative ones are thresholds of nothing: models hardly hear "no"
        trained = opened.record.get("method_facts", {}).get("epoch")
        self.prompts_tell = fits and trained not in (None, 0)
        # [n] what a search looks at besides paths; None where there are no letters
        self.read_contents: Callable[[], pa.Array | None] = lambda: None
        self._searches: OrderedDict[str, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.ids)

    def sample_id(self, row: int) -> str:
        return str(self.ids[row].as_py())

    def path(self, row: int) -> str:
        return str(self.paths[row].as_py())

    def name(self, code: int) -> str | None:
        """Label of a number; None for none of them."""
        return self.classes[code] if code >= 0 else None

    def code(self, label: str | None) -> int:
        """Number of a label; -1 where it does not occur."""
        return self._codes.get(label or "", -1)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.classes)}

    @property
    def width(self) -> int:
        """How many labels have a number."""
        return len(self.classes)

    def text(self, code: int) -> str:
        """A label as it is written down; "" for none of them."""
        return self.name(code) or ""

    def say(self, label: str) -> str:
        """A label that was written down, as a person reads it."""
        return label

    def with_label(self, name: str) -> np.ndarray:
        """[n] bool: images with a given label."""
        result: np.ndarray = self.given == self.code(name)
        return result

    def offering(self, now: Any, offered: np.ndarray, name: str) -> np.ndarray:
        """[n] bool: images to which a label is offered, by the numbers `offered` [n]."""
        result: np.ndarray = offered == self.code(name)
        return result

    def offered(self, now: Any) -> np.ndarray:
        """[n] int64 number of the label that a reviewer is offered, by the run as it stands."""
        suggested = np.asarray(now.suggested)
        # of what belongs to no class the best of the wrong ones
        result: np.ndarray = np.where(suggested >= 0, suggested, now.best_other)
        return result.astype(np.int64)

    def probability(self, now: Any, row: int, offered: int) -> float:
        """Probability of what a reviewer is offered."""
        return float(now.posterior[row, offered])

    def compared(
        self, now: Any, row: int, given: str, offered: str | None
    ) -> list[str | None]:
        """Classes whose trusted pictures stand beside one."""
        return [given, offered]

    def chips(self, now: Any, row: int, most: int) -> list[dict[str, Any]]:
        """Of sets alone: classes to put in or out."""
        return []

    def changes(self, given: int, offered: int) -> tuple[list[str], list[str]]:
        """Of sets alone: classes that an offered label has beside the given one, and has not."""
        return [], []

    def number(self, column: str, row: int) -> float | None:
        """A column that a method added, at a row; None where it added none."""
        if column not in self._scored.column_names:
            return None
        value = self._scored[column][row].as_py()
        return None if value is None else float(value)

    def with_text(self, text: str) -> np.ndarray:
        """[n] bool: paths, and texts, that hold some letters, whatever their case."""
        mask = self._searches.pop(text, None)
        if mask is None:
            found = pc.match_substring(self.paths, text, ignore_case=True)
            if self.contents is not None:
                inside = pc.match_substring(self.contents, text, ignore_case=True)
                found = pc.or_(found, inside)
            mask = np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)
        self._searches[text] = mask
        # the search that was wanted longest ago goes first
        while len(self._searches) > SEARCHES:
            self._searches.popitem(last=False)
        return mask

    @cached_property
    def contents(self) -> pa.Array | None:
        """As `read_contents` gives it, read once."""
        return self.read_contents()

    @cached_property
    def by_name(self) -> np.ndarray:
        """[n] rows sorted by path."""
        return np.asarray(pc.sort_indices(self.paths)).astype(np.int64)

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Rows of those ids that are there, in their order."""
        rows = self.at.rows(ids)
        return rows[rows >= 0]
