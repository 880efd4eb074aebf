"""A run of sets as it stands: the scan's judgement, and what people decided since.

As `labelsieve.runs.standing` for single labels, of which it has the names; labels are texts here
(`labelsieve.data.labels.write_set`), as there are more sets than anybody numbers.

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
from labelsieve.estimation.sets.answers import SetAnswers, SetLearner
from labelsieve.runs.decisions import NAMING, WRONG, Decision
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf, one_chunk

HALF = 0.5  # from which on a label is rather wrong than right
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

    @cached_property
    def learner(self) -> SetLearner:
        """Corrects the probabilities by answers."""
        return SetLearner(self.probs, self.given)

    def untouched(self) -> SetStanding:
        """The run before anybody decided anything."""
        return _stand(self, {})


@dataclass(frozen=True, eq=False)
class SetStanding:
    """The run as it stands, in the order of the scan's scores.

    probs: [n, k] float32 probability that each picture shows each class, given picture, label and
        all answers; 0 and 1 where people named the set.
    verdicts: [n] object, of `labelsieve.runs.decisions.VERDICTS`, None where nobody decided.
    decided: [n] object, the set that people named as a text; None where nobody did.
    learned_from: number of answers in the probabilities of the others.
    """

    scanned: SetScanned
    probs: np.ndarray
    verdicts: np.ndarray
    decided: np.ndarray
    learned_from: int

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
        if self.learned_from:
            result = judging.p_right(self.probs, self.scanned.given)
        else:
            # to the last digit what the scan wrote
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
    def likely(self) -> np.ndarray:
        """[n, k] bool, suggested sets: what the scan flagged differs, and what is likely wrong."""
        given = self.scanned.given
        if not self.learned_from:
            return self.scanned.suggested
        flagged = given ^ self.scanned.suggested
        result: np.ndarray = given ^ (
            flagged | (judging.p_wrong_of(self.probs, given) > HALF)
        )
        return result

    @cached_property
    def suggested(self) -> np.ndarray:
        """[n] object: the set that people named, else the suggested one."""
        named = self.decided != None  # noqa: E711
        return np.where(named, self.decided, self._texts(self.likely))

    @cached_property
    def suggested_prob(self) -> np.ndarray:
        """[n] float64 probability that the whole suggested set is right."""
        prob = judging.p_right(self.probs, self.likely)
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
        p_wrong = judging.p_wrong_of(self.probs, scanned.given)
        # nothing else: the suggestion that people see is what may change
        sure = (p_wrong >= least) & (scanned.given ^ self.likely)
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
        """With other decisions, by sample id.

        Args:
            learn: correct the probabilities of what nobody decided, too.
        """
        return _stand(self.scanned, current, learn=learn)


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


def _stand(
    scanned: SetScanned, current: Mapping[str, Decision], *, learn: bool = True
) -> SetStanding:
    n = len(scanned.given)
    verdicts = np.full(n, None, dtype=object)
    decided = np.full(n, None, dtype=object)
    named = []
    for sample_id, decision in sorted(current.items(), key=lambda item: item[1].seq):
        row = scanned.at.get(sample_id)
        if row is None or decision.verdict == "skip":
            continue
        verdicts[row] = decision.verdict
        decided[row] = _named(scanned, row, decision)
        if _is_known(decided[row], scanned.classes):
            named.append(row)
    answers = _answers(scanned, decided, named)
    probs = scanned.learner.probs(answers) if learn and named else scanned.probs
    if named:
        probs = probs.copy() if probs is scanned.probs else probs
        # certainty about what people said themselves
        probs[answers.rows] = answers.sets
    return SetStanding(scanned, probs, verdicts, decided, len(named) if learn else 0)


def _named(scanned: SetScanned, row: int, decision: Decision) -> str | None:
    """The set that a decision names, as a text; None where it is only known to be wrong."""
    if decision.verdict == "none":
        return NOTHING
    if decision.verdict == "keep":
        return str(scanned.coding.decode(scanned.given[[row]])[0].as_py())
    return decision.label if decision.verdict in NAMING else None


def _is_known(text: str | None, classes: tuple[str, ...]) -> bool:
    """Whether it is a set of these classes: decisions may come from elsewhere."""
    try:
        return text is not None and bool(check_set(text, classes))
    except DataError:
        return False


def _answers(scanned: SetScanned, decided: np.ndarray, named: list[int]) -> SetAnswers:
    rows = np.array(named, dtype=np.int64)
    texts = pa.array([decided[row] for row in named], pa.string())
    return SetAnswers(rows, scanned.coding.encode(pa.chunked_array([texts])))


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
