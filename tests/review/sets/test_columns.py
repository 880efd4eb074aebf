"""Sets under review: numbers of sets, chips, what answers mean, and an audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.sets import WORDS, mosaics_of_digits

import labelsieve as ls
from labelsieve.audits import guarantee
from labelsieve.audits.design import Wish, commit
from labelsieve.data.labels import read_set
from labelsieve.errors import OptionError
from labelsieve.review.filters import DEFAULT, Filters, Sorting
from labelsieve.review.session import Review
from labelsieve.review.sets.columns import SetColumns
from labelsieve.runs.run import Run


@pytest.fixture(scope="module")
def run(digits: Any, tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Run:
    images, _, given = mosaics_of_digits(digits, 60)
    given[3] = set()
    folder = tmp_path_factory.mktemp("sets") / "run"
    return ls.scan(
        ls.load((list(images), given), template="a handwritten digit {}."),
        output=folder,
        settings={"texts": 200, "epochs": 2},
    )


@pytest.fixture
def review(run: Run, tmp_path: Path) -> Any:
    opened = Review(run, background=False)
    yield opened
    opened.decisions.close()
    for name in run.folder.glob("decisions.sqlite*"):
        name.unlink()


def test_a_set_is_named_in_three_ways_and_strangers_are_none(run: Run) -> None:
    columns = SetColumns(run)
    code = columns.code('["two", "one"]')
    assert columns.text(code) == '["one", "two"]' and columns.name(code) == "one, two"
    assert columns.code("one, two") == code
    assert columns.text(columns.code("one")) == '["one"]'
    assert columns.name(columns.code("[]")) == "(no class)"
    assert columns.code("(no class)") == columns.code("[]")
    for stranger in ('["lion"]', "lion", '["one"', "one, lion", ""):
        assert columns.code(stranger) == -1
    given = [read_set(columns.text(int(c))) for c in columns.given]
    expected = [read_set(t) for t in run.scores["given_label"].to_pylist()]
    assert given == expected
    assert columns.with_label("one").tolist() == ["one" in g for g in given]
    assert not columns.with_label("lion").any()


def test_chips_are_the_offered_set_and_can_make_any_other(review: Review) -> None:
    page = review.front_page(DEFAULT, "w1")
    assert 'id="chips"' in page
    row = int(review.suspects.rows(DEFAULT)[0])
    columns = review.suspects.columns
    chips = columns.chips(review.suspects.now, row, 9)
    assert {c["name"] for c in chips} == set(WORDS)
    on = sorted(c["name"] for c in chips if c["on"])
    assert on == read_set(columns.text(int(review.suspects.offered[row])))


def test_answers_are_written_as_sets(review: Review) -> None:
    rows = review.suspects.rows(Filters(show="all"))[:5].tolist()
    columns, decisions = review.suspects.columns, review.decisions
    ids = [columns.sample_id(row) for row in rows]

    def said(place: int, verdict: str, label: str = "") -> Any:
        review.deciding.decide(ids[place], verdict, label, "w1", 0)
        now = decisions.current(ids[place])
        return now and (now.verdict, now.label)

    given = columns.text(int(columns.given[rows[1]]))
    assert said(0, "other", '["two", "zero"]') == ("other", '["two", "zero"]')
    assert said(1, "other", given) == ("keep", None)
    assert said(2, "none") == ("none", None)
    with pytest.raises(OptionError, match="not a class"):
        said(3, "other", '["lion"]')
    assert "two, zero" in review.history_page("w1")
    assert review.suspects.now.labels[rows[0]] == '["two", "zero"]'
    # grid and map ask for the same
    cells = review.cells(Filters(show="all"), Sorting("pair"), "w1", 0, 5)["cells"]
    assert all("[" not in cell["given"] for cell in cells)
    assert review.states(DEFAULT) and review.suspects.pairs(3)
    wanted = review.rows(Filters(given="one", show="all", decided="any"), Sorting())
    assert wanted["total"] == int(columns.with_label("one").sum())


def test_an_audit_counts_wrong_sets(review: Review) -> None:
    commit(review.opened, review.decisions, Wish(answers=30))
    wrong = 0
    for number in range(30):
        shown = review.auditing.as_dict("w1", "")["card"]
        bad = number % 3 == 0
        wrong += bad
        review.deciding.answer(
            shown["sample_id"], ("wrong" if bad else "keep", ""), "w1"
        )
    found = guarantee.of_run(review.opened, review.decisions).rate
    assert found is not None and found.wrong == wrong
    assert found.low <= wrong / 30 <= found.high


def test_a_card_compares_with_pictures_of_the_doubted_classes(review: Review) -> None:
    columns = review.suspects.columns
    rows = np.flatnonzero(columns.flagged)
    row = int(rows[0])
    scanned = review.suspects.now.scanned
    changed = {
        scanned.classes[k]
        for k in np.flatnonzero(scanned.given[row] ^ scanned.suggested[row])
    }
    assert set(columns.compared(review.suspects.now, row, "", None)) <= changed


def test_a_caption_says_what_would_change(review: Review) -> None:
    columns = review.suspects.columns
    given, offered = columns.code('["one", "two"]'), columns.code('["one", "zero"]')
    assert columns.changes(given, offered) == (["zero"], ["two"])
    assert columns.changes(given, given) == columns.changes(given, -1) == ([], [])
    review.suspects.columns.given[0], review.suspects.offered[0] = given, offered
    (cell,) = review.describing.cells([0], "w")
    assert cell["change"] == "+ zero, − two"
