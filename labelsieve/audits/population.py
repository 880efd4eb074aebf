"""What an audit is drawn from: labels of a run that nobody had decided about, with their scores."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET
from labelsieve.estimation.audits import stop_rule
from labelsieve.estimation.audits.shares import neyman, strata
from labelsieve.files import sha256
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf, one_chunk

# The slice for a list of wrong labels: twice as many as the scan expects, and room for answers. On
# CIFAR-10N (random_label1, rows 0 to 7,999, errors thinned to 3 and 8 %, rows repeated tenfold)
# lists from slices of 1.5 to 3 times the errors were the longest, and alike; where errors are rare,
# the whole population gave none.
SLICE = 2.0
ROOM = 4  # labels in the slice for each answer: what is asked cannot be listed


@dataclass(frozen=True, eq=False)
class Population:
    """Labels that an audit may ask about, and how they were scored by the scan.

    Attributes:
        scored: table of scores, without rows that have none; all labels of the run.
        open: [M] bool, those of them that belong to the population.
        digest: of the tables of scores and probabilities: others are another population.
    """

    opened: Run
    scored: pa.Table
    open: np.ndarray
    digest: str

    @classmethod
    def of(cls, opened: Run, decided: Collection[str]) -> Population:
        """The population of a run without what was decided before.

        Args:
            decided: sample ids.
        """
        scored = opened.judged
        known = pa.array(list(decided), pa.string())
        is_open = pc.invert(pc.is_in(scored["sample_id"], known))
        return cls(
            opened,
            scored,
            is_open.to_numpy(zero_copy_only=False).astype(bool),
            digest_of(opened),
        )

    @cached_property
    def ids(self) -> pa.Array:
        """[M] sample ids of all scored labels."""
        return self.scored["sample_id"].combine_chunks()

    @cached_property
    def at(self) -> RowsOf:
        """Row by sample id."""
        return self.opened.at

    @cached_property
    def p_wrong(self) -> np.ndarray:
        """[M] the scan's probability that a label is wrong."""
        result: np.ndarray = 1 - self.scored["p_clean"].to_numpy()
        return result

    @cached_property
    def given(self) -> np.ndarray:
        """[M] int, number of each label in `Run.classes`."""
        # sets are of no class: all of them are one group
        if self.opened.kind == SET:
            return np.zeros(len(self.scored), dtype=np.int64)
        names = pa.array(self.opened.classes, pa.string())
        return pc.index_in(self.scored["given_label"], names).to_numpy()

    def rows(self, first: int) -> np.ndarray:
        """Rows of the population, the most suspicious first; at most `first` of them, 0: all."""
        return self._suspicious[:first] if first else self._suspicious

    @cached_property
    def _suspicious(self) -> np.ndarray:
        # asked for at every answer
        rows = np.flatnonzero(self.open)
        result: np.ndarray = rows[np.argsort(-self.p_wrong[rows], kind="stable")]
        return result

    def slice_for(self, answers: int) -> int:
        """How many of the most suspicious labels a list is best drawn from."""
        expected = float(self.p_wrong[self.open].sum())
        wanted = max(int(np.ceil(SLICE * expected)), ROOM * answers)
        return min(wanted, int(self.open.sum()))

    def strata(self, answers: int) -> np.ndarray:
        """[N] stratum of each row of `rows(0)`."""
        rows = self.rows(0)
        return strata(self.p_wrong[rows], self.given[rows], answers)

    @cached_property
    def queue(self) -> np.ndarray:
        """[N] rows of the population in the order of review, by expected gain."""
        # what is learned of one set says nothing about others: the most suspicious first
        if self.opened.kind == SET:
            return self.rows(0)
        rows = np.flatnonzero(self.open)
        table = self.opened.probs()
        values = table["probs"].combine_chunks().flatten().to_numpy()
        # many ids at once: hashed, without a text of Python's for each
        known = one_chunk(table["sample_id"])
        at = pc.index_in(self.ids.take(pa.array(rows)), known).to_numpy()
        probs = values.reshape(len(table), -1)[at]
        return rows[stop_rule.review_order(probs, self.given[rows])]

    def draw(self, first: int, answers: int, seed: str) -> np.ndarray:
        """[n] rows drawn with equal chances from the `first` most suspicious, in random order."""
        return self._lowest(self.rows(first), answers, seed)

    def draw_strata(self, answers: int, seed: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows [n] drawn from strata by Neyman's allocation, and the chance of each [n]."""
        rows = self.rows(0)
        stratum = self.strata(answers)
        wanted = neyman(self.p_wrong[rows], stratum, answers)
        chance = wanted / np.bincount(stratum)
        drawn = []
        for number, count in enumerate(wanted):
            drawn.append(self._lowest(rows[stratum == number], int(count), seed))
        # mixed, so that whoever stops early has seen something of everything
        found = self._lowest(np.concatenate(drawn), answers, seed)
        of_row = np.zeros(len(self.ids))
        of_row[rows] = chance[stratum]
        return found, of_row[found]

    def _lowest(self, rows: np.ndarray, count: int, seed: str) -> np.ndarray:
        """Rows whose ids have the smallest hashes: a draw that depends on ids and seed alone."""
        names = self.ids.take(pa.array(rows)).to_pylist()

        def hashed(position: int) -> bytes:
            text = f"{seed}\n{names[position]}"
            return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

        lowest = heapq.nsmallest(count, range(len(rows)), key=hashed)
        return rows[np.array(lowest, dtype=np.int64)]


def digest_of(opened: Run) -> str:
    """Names what a scan found: tables of scores and of probabilities, by their bytes."""
    parts = []
    for name in ("scores.parquet", "probs.parquet"):
        parts.append(sha256(opened.file(name)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
