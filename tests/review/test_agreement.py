"""Whatever people answer in whatever order: page, report, scores and run say the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelsieve.audits import headline
from labelsieve.report import cards
from labelsieve.report.page import _verdict
from labelsieve.review.filters import DEFAULT
from labelsieve.review.session import Review
from labelsieve.runs import standing
from labelsieve.runs.run import Run

WINDOWS = ("mine", "theirs")
PEOPLE = {"mine": "Ada", "theirs": ""}
VERDICTS = ("keep", "accept", "other", "none", "wrong", "skip")
SEEDS = range(4)
STEPS = 25


class Reviewing:
    """Two windows of one run in which somebody presses keys at random."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.review = Review(Run(folder), background=False)
        self.rng = np.random.default_rng(seed)
        self.rows = len(self.review.suspects.columns)
        self.classes = self.review.suspects.columns.classes

    def step(self) -> bool:
        """Do anything; whether it took something back."""
        window = str(self.rng.choice(WINDOWS))
        what = self.rng.choice(["one", "many", "audit", "undo"], p=[0.5, 0.1, 0.2, 0.2])
        if what == "undo":
            rows, _ = self.review.deciding.undo(window)
            return bool(rows)
        if what == "many":
            self.decide_many(window)
        elif what == "audit":
            self.audit(window)
        else:
            self.decide(window)
        return False

    def said(self) -> tuple[str, str]:
        return str(self.rng.choice(VERDICTS)), str(self.rng.choice(self.classes))

    def decide(self, window: str) -> None:
        suspects = self.review.suspects
        row = int(self.rng.integers(self.rows))
        # a window that has not seen the latest answer is refused, and nothing changes
        seen = int(suspects.seen[row]) if self.rng.random() < 0.8 else 0
        verdict, label = self.said()
        sample_id = suspects.columns.sample_id(row)
        self.review.deciding.decide(
            sample_id, verdict, label, window, seen, PEOPLE[window]
        )

    def decide_many(self, window: str) -> None:
        rows = self.rng.choice(self.rows, 3, replace=False)
        seen = self.review.suspects.seen[rows]
        self.review.deciding.decide_many(
            rows.tolist(), seen.tolist(), self.said(), window, PEOPLE[window]
        )

    def audit(self, window: str) -> None:
        question = self.review.auditing.ask(window, PEOPLE[window])
        if question is None:
            return
        sample_id = self.review.suspects.columns.sample_id(question.row)
        verdict = str(self.rng.choice(["keep", "wrong", "skip"]))
        self.review.deciding.answer(
            sample_id, (verdict, ""), window, PEOPLE[window], second=question.second
        )

    def progress(self) -> dict[str, Any]:
        counted: dict[str, Any] = self.review.counts(DEFAULT, "mine")["progress"]
        return counted

    def compare(self) -> None:
        """Page, report, scores and a run that is opened afresh."""
        opened = Run(self.folder)
        now = standing.of_run(opened)
        everything = range(self.rows)
        cells = self.review.describing.cells(everything, "mine")
        scores = {
            row["sample_id"]: row for row in standing.scores_of(opened).to_pylist()
        }
        # without the pictures, which take the time
        written = cards._columns(opened, now, np.arange(self.rows))
        columns = self.review.suspects.columns
        for row, cell in enumerate(cells):
            score = scores[columns.sample_id(row)]
            assert cell["p"] == pytest.approx(now.p_wrong[row], abs=6e-4)
            assert written.wrong[row] == pytest.approx(now.p_wrong[row], abs=6e-5)
            assert 1 - score["p_clean"] == pytest.approx(now.p_wrong[row], abs=1e-6)
            self.same_suggestion(cell, score, written, row)
            # one that was skipped is not decided
            decided = cell.get("decided", "") not in ("", "skipped")
            assert decided == bool(written.verdict[row])
        self.same_counts(opened, now)

    def same_suggestion(
        self, cell: dict[str, Any], score: dict[str, Any], written: Any, row: int
    ) -> None:
        if row % 12 == 0:
            card = self.review.describing.card(row, "all")
            assert card["offered"] == cell["offered"]
            assert card["p_wrong"] == self.review.suspects.now.p_wrong[row]
        # what the scores suggest is offered wherever it is another class
        if score["suggested_label"] not in (None, cell["given"]):
            assert cell["offered"] == score["suggested_label"]
            assert written.classes[written.suggested[row]] == score["suggested_label"]

    def same_counts(self, opened: Run, now: Any) -> None:
        said = _verdict(opened, now)
        progress = self.progress()
        reviewed = said["reviewed"] or {"images": 0, "wrong": 0}
        assert progress["wrong"] == reviewed["wrong"]
        settled = self.review.counts(DEFAULT, "mine")["progress"]["done"]
        assert settled <= reviewed["images"]
        # page, report, notebook and terminal
        sentence = said["verdict"].sentence
        assert progress["headline"] == sentence
        assert opened.headline.startswith(sentence) and sentence in repr(opened)
        assert headline.of_run(opened).sentence == sentence
        mine, theirs = (self.review.counts(DEFAULT, w)["progress"] for w in WINDOWS)
        assert mine == theirs


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_answered_everything_says_the_same(
    planted: Any, tmp_path: Path, seed: int
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(planted.folder, folder)
    reviewing = Reviewing(folder, seed)
    before = reviewing.progress()
    for _ in range(STEPS):
        settled = reviewing.review.suspects.verdict.copy()
        taken_back = reviewing.step()
        reviewing.compare()
        after = reviewing.progress()
        assert after["all"] == before["all"]
        # what is settled stays so, until it is taken back or put off by the same person
        put_off = reviewing.review.suspects.skipped & (settled != 0)
        if not taken_back and not put_off.any():
            assert after["done"] >= before["done"]
        before = after
