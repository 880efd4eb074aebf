"""A run as it stands now: the scan's judgement, corrected by everything that people said since.

One posterior over the classes says everything: how likely each label is right, what would be right
instead, and how likely that is. Review page, report, exports and corrections read it here, so that
they never contradict each other. What a certificate is computed with is the scan's own, never this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET
from labelsieve.estimation.audits.answers import Answers, Learner
from labelsieve.estimation.calibration import parts, with_given
from labelsieve.runs.decisions import NAMING, WRONG, Decision, Decisions, open_decisions
from labelsieve.runs.reading.features import feature_rows
from labelsieve.runs.run import Run
from labelsieve.runs.sets import standing as sets
from labelsieve.tables import OUTSIDER, RowsOf, one_chunk

NOBODY: Mapping[str, Decision] = {}
# how far a sum of rounded probabilities may be from 1
ROUNDED = 1e-5


@dataclass(frozen=True, eq=False)
class Picked:
    """Rows [n] of an array [m, d] on the disk, read where they are asked for."""

    array: np.ndarray
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.rows), self.array.shape[1]

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.asarray(self.array[self.rows[part]])


@dataclass(frozen=True, eq=False)
class Scanned:
    """What a scan said about n images, in the order of its scores; k classes.

    ids: their sample ids. classes: names, the columns of `probs`.
    given: [n] int64. p_clean: [n] float64. probs: [n, k] float32, with p_clean at `given`.
    issue: [n] bool, what it flagged. features: of length one, None where they are gone.
    outside: [n] bool, what it holds to belong to no class. at: row of a sample id.
    """

    ids: pa.StringArray
    classes: tuple[str, ...]
    given: np.ndarray
    p_clean: np.ndarray
    probs: np.ndarray
    issue: np.ndarray
    features: Picked | None
    outside: np.ndarray
    at: RowsOf

    def untouched(self) -> Standing:
        """The run before anybody decided anything."""
        return _stand(self, NOBODY)

    @cached_property
    def learner(self) -> Learner:
        """Corrects the probabilities by answers."""
        other, _ = best_other(self.probs, self.given)
        return Learner(1 - self.p_clean, self.given, other, self.features)


@dataclass(frozen=True, eq=False)
class Standing:
    """The run as it stands: n scored images in the order of the scan's scores, k classes.

    posterior: [n, k] float32 probability of each class, given picture, label and all answers. Of a
        decided image 1 at its class; zeros where it belongs to none.
    p_clean: [n] float64, that at the given label.
    verdicts: [n] object, of `labelsieve.runs.decisions.VERDICTS`, None where nobody decided.
    decided: [n] int64, the class that people named; `UNKNOWN` where nobody did or it is not known.
    learned_from: number of answers in the probabilities of the others.
    """

    scanned: Scanned
    posterior: np.ndarray
    p_clean: np.ndarray
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
        """Names of the classes, the columns of the posterior."""
        return self.scanned.classes

    @property
    def given(self) -> np.ndarray:
        """[n] int64 given labels."""
        return self.scanned.given

    @cached_property
    def p_wrong(self) -> np.ndarray:
        """[n] float64, never below the probability of another class."""
        return 1 - self.p_clean

    @cached_property
    def _others(self) -> tuple[np.ndarray, np.ndarray]:
        return best_other(self.posterior, self.given)

    @property
    def best_other(self) -> np.ndarray:
        """[n] int64, the likeliest class besides the given one."""
        return self._others[0]

    @property
    def best_other_prob(self) -> np.ndarray:
        """[n] float64, its probability."""
        return self._others[1]

    @cached_property
    def suggested(self) -> np.ndarray:
        """[n] int64: of flagged labels the best other class, else the likeliest; -1: none."""
        other, prob = self._others
        result = np.where(self.issue | (prob > self.p_clean), other, self.given)
        # a person's word comes after the scan's
        result[self.scanned.outside & self._open] = -1
        # nothing is left of what belongs to no class
        rows = np.flatnonzero(~self._open)
        result[rows[self.verdicts[rows] == "none"]] = -1
        named = self.decided >= 0
        result[named] = self.decided[named]
        return result

    @cached_property
    def _open(self) -> np.ndarray:
        """[n] bool: nobody decided."""
        # once: a million objects are compared one by one
        return np.asarray(self.verdicts == None)  # noqa: E711

    @cached_property
    def suggested_prob(self) -> np.ndarray:
        """[n] float64, probability of `suggested`; of no class that the label is wrong."""
        prob = np.where(self.suggested == self.given, self.p_clean, 0.0)
        # 0 where a person said so: there is nothing more to suggest
        outside = (self.suggested < 0) & self._open
        prob[outside] = self.p_wrong[outside]
        rows = np.flatnonzero((self.suggested != self.given) & (self.suggested >= 0))
        prob[rows] = self.posterior[rows, self.suggested[rows]]
        return prob

    @cached_property
    def issue(self) -> np.ndarray:
        """[n] bool: wrong as people decided, else as the scan flagged."""
        result = self.scanned.issue.copy()
        rows = np.flatnonzero(~self._open)
        result[rows] = np.isin(self.verdicts[rows].astype(str), WRONG)
        return result

    @property
    def labels(self) -> np.ndarray:
        """[n] object, the label as it stands; None for no class, or no known one."""
        names = np.array([*self.classes, None], dtype=object)
        open_ = ~np.isin(self.verdicts.astype(str), ("none", "wrong"))
        now = np.where(open_, self.given, -1)
        named = self.decided >= 0
        now[named] = self.decided[named]
        result: np.ndarray = names[now]
        return result

    def table(self) -> pa.Table:
        """One row per scored image, in the order of the scan's scores."""
        names = pa.array([*self.classes, None])
        # -1 is none, which is the last of the names
        suggested = names.take(pa.array(self.suggested % (len(self.classes) + 1)))
        return pa.table(
            {
                "sample_id": self.scanned.ids,
                "p_clean": self.p_clean,
                "is_label_issue": self.issue,
                "suggested_label": suggested,
                "suggested_prob": self.suggested_prob,
                "verdict": pa.array(self.verdicts, pa.string()),
            }
        )

    def updated(
        self, current: Mapping[str, Decision], *, learn: bool = True
    ) -> Standing:
        """With other decisions, by sample id.

        Args:
            learn: correct the probabilities of what nobody decided, too, which takes seconds the
                first time among a million images.
        """
        return _stand(self.scanned, current, learn=learn)


UNKNOWN = -1


def of_run(
    opened: Run, decisions: Decisions | None = None, *, learn: bool = True
) -> Any:
    """The run with the decisions of its folder, or with these: `Standing`, of sets `SetStanding`.

    Args:
        learn: as of `Standing.updated`.

    Raises:
        RunError: the run or its decisions are damaged.
    """
    scanned = read(opened)
    untouched = scanned.untouched()
    if decisions is not None:
        return untouched.updated(decisions.all_current(), learn=learn)
    found = open_decisions(opened)
    if found is None:
        return untouched
    try:
        return untouched.updated(found.all_current(), learn=learn)
    finally:
        found.close()


CORRECTED = ("p_clean", "is_label_issue", "suggested_label", "suggested_prob")


def scores_of(opened: Run) -> pa.Table:
    """The scores of every image as they stand: `CORRECTED` columns know what people decided.

    Raises as `of_run`.
    """
    scores = opened.scores
    now = of_run(opened)
    # a run in which nobody decided anything is left as the scan wrote it, to the last digit
    if (now.verdicts == None).all():  # noqa: E711  (element by element)
        return scores
    table = now.table()
    # null where nothing could be said about an image
    rows = pc.index_in(scores["sample_id"], now.ids)
    for name in CORRECTED:
        place = scores.schema.get_field_index(name)
        values = table[name].take(rows).cast(scores.schema.field(name).type)
        scores = scores.set_column(place, name, values)
    return scores


def read(opened: Run) -> Any:
    """What the scan said, from the files of the run: `Scanned`, of sets `SetScanned`."""
    if opened.kind == SET:
        return sets.read(opened)
    return _read(opened)


def _read(opened: Run) -> Scanned:
    scores = opened.judged
    ids = one_chunk(scores["sample_id"])
    classes = opened.classes
    given = pc.index_in(scores["given_label"].combine_chunks(), pa.array(classes))
    labels = given.to_numpy(zero_copy_only=False).astype(np.int64)
    p_clean = scores["p_clean"].to_numpy()
    found = feature_rows(opened)
    return Scanned(
        ids,
        tuple(classes),
        labels,
        p_clean,
        _posterior(opened, ids, labels, p_clean),
        scores["is_label_issue"].to_numpy(zero_copy_only=False).astype(bool),
        None if found is None else Picked(found[1], found[0]),
        pc.equal(scores["status"], OUTSIDER).to_numpy(zero_copy_only=False),
        opened.at,
    )


def _posterior(
    opened: Run, ids: pa.Array, labels: np.ndarray, p_clean: np.ndarray
) -> np.ndarray:
    """[n, k] float32 probabilities of the run in the order of `ids` that know the labels."""
    table = opened.probs()
    known = one_chunk(table["sample_id"])
    values = table["probs"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    probs = values.reshape(len(table), -1)
    # a scan writes both in one order, and then nothing of what may be gigabytes is copied
    if not known.equals(ids):
        probs = probs[pc.index_in(ids, known).to_numpy()]
    if probs.dtype == np.float32 and _knows_labels(probs, labels, p_clean):
        return probs
    # a run of an earlier version may hold probabilities that do not know the label
    return with_given(probs, labels, p_clean)


def _knows_labels(probs: np.ndarray, labels: np.ndarray, p_clean: np.ndarray) -> bool:
    """Whether each given label has its p_clean, and all classes add up to one."""
    at_given = probs[np.arange(len(labels)), labels]
    if not np.array_equal(at_given, p_clean.astype(np.float32)):
        return False
    ones = np.ones(probs.shape[1], dtype=np.float32)
    return bool(np.abs(probs @ ones - 1).max(initial=0) < ROUNDED)


def _stand(
    scanned: Scanned, current: Mapping[str, Decision], *, learn: bool = True
) -> Standing:
    n = len(scanned.given)
    verdicts = np.full(n, None, dtype=object)
    decided = np.full(n, UNKNOWN, dtype=np.int64)
    number = {name: i for i, name in enumerate(scanned.classes)}
    rows = []
    for sample_id, decision in sorted(current.items(), key=lambda item: item[1].seq):
        row = scanned.at.get(sample_id)
        if row is None or decision.verdict == "skip":
            continue
        rows.append(row)
        verdicts[row] = decision.verdict
        if decision.verdict == "keep":
            decided[row] = scanned.given[row]
        elif decision.verdict in NAMING:
            decided[row] = number.get(str(decision.label), UNKNOWN)
    answered = np.array(rows, dtype=np.int64)
    if learn:
        posterior, p_clean = _learned(scanned, answered, verdicts, decided)
    else:
        # a copy, as what was decided is written into it
        posterior = scanned.probs.copy() if rows else scanned.probs
        p_clean = scanned.p_clean
    learned = len(rows) if learn else 0
    standing = Standing(scanned, posterior, p_clean, verdicts, decided, learned)
    return _with_decided(standing, answered)


def _learned(
    scanned: Scanned, rows: np.ndarray, verdicts: np.ndarray, decided: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior [n, k] and P(right) [n] by what people said about `rows`."""
    if not len(rows):
        return scanned.probs, scanned.p_clean
    wrong = np.isin(verdicts[rows].astype(str), WRONG)
    answers = Answers(rows, wrong, decided[rows])
    p_clean = 1 - scanned.learner.p_wrong(answers)
    factors = scanned.learner.others(scanned.probs, answers).astype(np.float32)
    posterior = np.empty_like(scanned.probs)
    for part in parts(*scanned.probs.shape):
        probs = scanned.probs[part] * factors[scanned.given[part]]
        posterior[part] = with_given(probs, scanned.given[part], p_clean[part])
    return posterior, p_clean


def _with_decided(standing: Standing, rows: np.ndarray) -> Standing:
    """Certainty about what people decided."""
    if not len(rows):
        return standing
    posterior = standing.posterior
    p_clean = standing.p_clean.copy()
    given = standing.given
    for row in rows:
        label = standing.decided[row]
        if label >= 0:
            posterior[row] = 0
            posterior[row, label] = 1
        elif standing.verdicts[row] == "wrong":
            # not the given one; the others share what is left
            posterior[row, given[row]] = 0
            posterior[row] /= max(float(posterior[row].sum()), 1e-30)
        else:
            posterior[row] = 0
        p_clean[row] = posterior[row, given[row]]
    return replace(standing, posterior=posterior, p_clean=p_clean)


def best_other(probs: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class besides the given one [n] int64, and its probability [n] float64."""
    other = np.empty(len(given), dtype=np.int64)
    prob = np.empty(len(given))
    # in parts: a copy of all of them would double the largest array of a run
    for part in parts(*probs.shape):
        block = probs[part].copy()
        rows = np.arange(len(block))
        block[rows, given[part]] = -1
        other[part] = block.argmax(1)
        prob[part] = block[rows, other[part]].clip(0)
    return other, prob
