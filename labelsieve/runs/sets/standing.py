"""A run of sets as it stands: the scan's judgement, and what people decided since.

As `labelsieve.runs.standing` for single labels, of which it has the names; labels are texts here
(`labelsieve.data.labels.write_set`), as there are more sets than anybody numbers. What people say
about one picture changes nothing about the others.

Shapes: n scored images, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET, Labels, read_set, write_set
from labelsieve.errors import DataError
from labelsieve.estimation.sets import judging
from labelsieve.runs.decisions import NAMING, WRONG, Decision
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf, one_chunk

NOTHING = write_set([])  # the set of a picture that shows none of the classes


@dataclass(frozen=True, eq=False)
class SetScanned:
    """What a scan said, in the order of its scores.

    ids: sample ids. classes: names, the columns of `probs`.
    given, suggested: [n, k] bool. probs: [n, k] float32 probability that each picture shows each
        class, given picture and label. issue: [n] bool, what it flagged.
    """

    ids: pa.StringArray
    classes: tuple[str, ...]
    given: np.ndarray
    suggested: np.ndarray
    probs: np.ndarray
    p_clean: np.ndarray
    issue: np.ndarray

    @cached_property
    def at(self) -> RowsOf:
        """Row of a sample id."""
        return RowsOf(self.ids)

    @property
    def coding(self) -> Labels:
        """Between sets and their texts."""
        return Labels(SET, self.classes)

    def untouched(self) -> SetStanding:
        """The run before anybody decided anything."""
        return _stand(self, {})


@dataclass(frozen=True, eq=False)
class SetStanding:
    """The run as it stands, in the order of the scan's scores.

    verdicts: [n] object, of `labelsieve.runs.decisions.VERDICTS`, None where nobody decided.
    decided: [n] object, the set that people named as a text; None where nobody did.
    """

    scanned: SetScanned
    verdicts: np.ndarray
    decided: np.ndarray
    learned_from: int = 0

    @property
    def ids(self) -> pa.StringArray:
        """Sample ids [n]."""
        return self.scanned.ids

    @property
    def at(self) -> RowsOf:
        """Row of a sample id."""
        return self.scanned.at

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.scanned.classes

    @cached_property
    def p_clean(self) -> np.ndarray:
        """[n] float64 probability that the whole given set is right."""
        # the scan's stays as it is: promises are computed with it
        result = self.scanned.p_clean.copy()
        result[self.verdicts == "keep"] = 1.0
        result[np.isin(self.verdicts.astype(str), WRONG)] = 0.0
        return result

    @property
    def p_wrong(self) -> np.ndarray:
        """[n] float64."""
        return 1 - self.p_clean

    @cached_property
    def issue(self) -> np.ndarray:
        """[n] bool: wrong as people decided, else as the scan flagged."""
        decided = self.verdicts != None  # noqa: E711  (element by element)
        wrong = np.isin(self.verdicts.astype(str), WRONG)
        return np.where(decided, wrong, self.scanned.issue)

    @cached_property
    def given(self) -> np.ndarray:
        """[n] object, given sets as texts."""
        return self._texts(self.scanned.given)

    @cached_property
    def suggested(self) -> np.ndarray:
        """[n] object: the set that people named, else the suggested one."""
        named = self.decided != None  # noqa: E711
        return np.where(named, self.decided, self._texts(self.scanned.suggested))

    @cached_property
    def suggested_prob(self) -> np.ndarray:
        """[n] float64 probability that the whole suggested set is right."""
        prob = judging.p_right(self.scanned.probs, self.scanned.suggested)
        prob[self.decided != None] = 1.0  # noqa: E711
        return prob

    @cached_property
    def labels(self) -> np.ndarray:
        """[n] object, the set as it stands; None where it is only known to be wrong."""
        named = self.decided != None  # noqa: E711
        result = np.where(named, self.decided, self.given)
        result[(self.verdicts == "wrong") & ~named] = None
        return result

    def _texts(self, values: np.ndarray) -> np.ndarray:
        texts = self.scanned.coding.decode(values).to_pylist()
        # with None at the end, as numpy would make lists of texts of one length an array of those
        return np.array([*texts, None], dtype=object)[:-1]

    def changes(self, least: float) -> dict[int, tuple[str, float]]:
        """What each undecided set becomes where labels change that are surely wrong.

        Args:
            least: probability of every single change.

        Returns:
            Row -> the new set, and the least probability among its changes.
        """
        scanned = self.scanned
        p_wrong = judging.p_wrong_of(scanned.probs, scanned.given)
        # only what is flagged: the suggestion that people see is what may change
        sure = (p_wrong >= least) & (scanned.given ^ scanned.suggested)
        found = {}
        undecided = self.verdicts == None  # noqa: E711
        for row in np.flatnonzero(sure.any(1) & undecided).tolist():
            names = scanned.coding.decode(scanned.given[[row]] ^ sure[[row]])[0].as_py()
            found[row] = names, float(p_wrong[row][sure[row]].min())
        return found

    def table(self) -> pa.Table:
        """One row per scored image, in the order of the scan's scores."""
        return pa.table(
            {
                "sample_id": self.scanned.ids,
                "p_clean": self.p_clean,
                "is_label_issue": self.issue,
                "suggested_label": pa.array(self.suggested.tolist(), pa.string()),
                "suggested_prob": self.suggested_prob,
                "verdict": pa.array(self.verdicts, pa.string()),
            }
        )

    def updated(
        self, current: Mapping[str, Decision], *, learn: bool = True
    ) -> SetStanding:
        """With other decisions, by sample id; nothing is learned of one set about others."""
        return _stand(self.scanned, current)


def read(opened: Run) -> SetScanned:
    """What the scan said, from the files of the run.

    Raises:
        RunError: the run is damaged.
    """
    scores = opened.judged
    ids = one_chunk(scores["sample_id"])
    coding = Labels(SET, tuple(opened.classes))
    table = opened.probs()
    values = table["probs"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    # by id, whatever the order of the two tables
    rows = pc.index_in(ids, table["sample_id"].combine_chunks()).to_numpy()
    return SetScanned(
        ids,
        coding.classes,
        coding.encode(scores["given_label"]),
        coding.encode(scores["suggested_label"]),
        values.reshape(-1, len(coding.classes))[rows],
        scores["p_clean"].to_numpy(),
        scores["is_label_issue"].to_numpy(zero_copy_only=False).astype(bool),
    )


def _stand(scanned: SetScanned, current: Mapping[str, Decision]) -> SetStanding:
    n = len(scanned.given)
    verdicts = np.full(n, None, dtype=object)
    decided = np.full(n, None, dtype=object)
    standing = SetStanding(scanned, verdicts, decided)
    for sample_id, decision in current.items():
        row = scanned.at.get(sample_id)
        if row is None or decision.verdict == "skip":
            continue
        verdicts[row] = decision.verdict
        if decision.verdict == "none":
            decided[row] = NOTHING
        elif decision.verdict == "keep":
            decided[row] = scanned.coding.decode(scanned.given[[row]])[0].as_py()
        elif decision.verdict in NAMING:
            decided[row] = decision.label
    return standing


def check_set(text: str, classes: tuple[str, ...]) -> str:
    """A set that somebody named, in its canonical text.

    Raises:
        DataError: it is no set, or names what is no class.
    """
    labels = read_set(text)
    for label in labels:
        if label not in classes:
            raise DataError(f"'{label}' is not a class of this data set.")
    return write_set(labels)
