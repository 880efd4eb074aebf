"""What a review shows and writes, without HTTP."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.audits import headline
from labelsieve.errors import RunError
from labelsieve.review import session
from labelsieve.review.deciding import NotInRun
from labelsieve.review.filters import DEFAULT, GRID, Filters, Sorting
from labelsieve.review.session import MOST_CELLS, Review
from labelsieve.runs.items import _heat
from labelsieve.runs.run import Run, run_folder


@pytest.fixture
def review(planted: Any) -> Review:
    return Review(planted.run, background=False)


def test_an_unfinished_run_is_refused(planted: Any) -> None:
    run_folder(planted.folder).note({"state": "running"})
    with pytest.raises(RunError, match="not finished"):
        Review(Run(planted.folder))


def test_data_that_moved_are_named_and_then_shown(planted: Any) -> None:
    moved = planted.data.with_name("elsewhere")
    shutil.move(planted.data, moved)
    with pytest.raises(RunError, match="--data"):
        Review(planted.run)
    review = Review(planted.run, data=str(moved), background=False)
    assert review.picture(0, "small")[8:12] == b"WEBP"


def test_only_rows_and_sizes_that_there_are_have_pictures(review: Review) -> None:
    for row, size in ((-1, "small"), (48, "small"), (0, "huge")):
        with pytest.raises(NotInRun, match="No such image"):
            review.picture(row, size)


def test_a_screen_of_the_grid_is_the_windows(planted: Any, review: Review) -> None:
    screen = review.cells(DEFAULT, Sorting(), "mine", 2, 5)
    assert (screen["total"], screen["start"]) == (len(planted.wrong), 2)
    assert [c["row"] for c in screen["cells"]] == [2, 3, 4, 5, 6]
    assert review.suspects.find(DEFAULT, "other", 3) == [0, 1, 7]
    last = review.cells(DEFAULT, Sorting(), "mine", 10_000, 5)
    assert [c["row"] for c in last["cells"]] == [len(planted.wrong) - 1]
    none = review.cells(Filters(text="nowhere"), Sorting(), "mine", 0, 5)
    assert none["cells"] == [] and none["total"] == 0
    assert (
        len(review.cells(Filters(show="all"), Sorting(), "m", 0, 10**9)["cells"]) == 48
    )
    assert MOST_CELLS < 1000


def test_certain_images_are_told_and_held_only_if_wanted(review: Review) -> None:
    told = review.some_cells(DEFAULT, [3, 99, -1, 1], "mine")
    assert [c["row"] for c in told["cells"]] == [3, 1]
    assert review.suspects.find(DEFAULT, "other") == [0]
    review.some_cells(DEFAULT, [0], "mine", hold=True)
    assert review.suspects.find(DEFAULT, "other") == [1]


def test_the_map_holds_every_image(planted: Any, review: Review) -> None:
    points = np.frombuffer(review.points(), "<u2").reshape(3, 48)
    assert points[:2].min() > 0 and points[:2].max() < GRID
    assert np.array_equal(points[2], review.suspects.columns.given)
    p, state = np.frombuffer(review.states(DEFAULT), np.uint8).reshape(2, 48)
    assert np.array_equal(p, np.rint(255 * review.suspects.now.p_wrong))
    flagged = review.suspects.columns.flagged
    assert np.array_equal(state, 128 + flagged)
    shown = planted.truth[planted.wrong[1]]
    verdicts = {0: ("keep", ""), 1: ("accept", shown), 2: ("none", "")}
    for row, answer in verdicts.items():
        review.deciding.decide_many([row], [0], answer, "w")
    given = review.suspects.columns.name(review.suspects.columns.given[0])
    state = np.frombuffer(review.states(Filters(given=given)), np.uint8)[48:]
    assert (state[:3] & 127).tolist() == [2, 3, 4]
    passes = review.suspects.columns.given == review.suspects.columns.given[0]
    assert np.array_equal(state >= 128, passes)


def test_without_features_there_is_no_map_and_no_look_alikes(
    planted: Any, own_cache: Any
) -> None:
    run_folder(planted.folder).note({"features": "elsewhere.npy"})
    review = Review(Run(planted.folder), background=False)
    assert review.points() == b""
    assert review.describing.card(0)["near"] == []
    assert "no longer in the cache" in review.front_page(DEFAULT, "w")
    rows = review.suspects.rows(DEFAULT, Sorting("similar", 3))
    assert rows.tolist() == review.suspects.rows(DEFAULT).tolist()


def test_queues_of_a_scan_are_offered(planted: Any, monkeypatch: Any) -> None:
    from labelsieve.runs import reasons

    ids = [planted.wrong[3], "not scored#1", planted.wrong[1]]
    partners = [planted.wrong[7], None, None]
    queue = reasons.Queue("dark", "Dark", ids, ["as a night", "b", "c"], partners)
    monkeypatch.setattr(reasons, "queues", lambda opened: [queue])
    review = Review(planted.run, background=False)
    page = review.front_page(Filters(show="dark"), "w")
    assert "Dark (2)" in page and "As a night" in page and "image?row=7" in page
    assert review.suspects.rows(Filters(show="dark")).tolist() == [3, 1]


def test_every_view_says_what_limits_the_scan(review: Review) -> None:
    limit = "The demo model <knows> digits alone."
    review.opened.record["caveats"] = [limit]
    views = (
        review.front_page(DEFAULT, "w"),
        review.grid_page(DEFAULT, Sorting(), "w"),
        review.map_page(DEFAULT, "w"),
        review.audit_page("w"),
    )
    assert all("The demo model &lt;knows&gt; digits alone." in html for html in views)


def test_where_the_model_cannot_say_no_page_names_a_number(
    planted: Any, review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the model alone says 25.0 %" in review.audit_page("w")
    del review.__dict__["_says_little"]
    monkeypatch.setattr(session, "says_little", lambda low, high: True)
    monkeypatch.setattr(headline, "says_little", lambda low, high: True)
    assert "the model alone cannot say" in review.audit_page("w")
    words = "how many more labels are wrong cannot be said before an audit"
    assert words in review.front_page(DEFAULT, "w")
    progress = review.counts(DEFAULT, "w")["progress"]
    assert (progress["left"], progress["words"]) == (None, words)


def test_a_map_of_disagreement_is_on_the_card_and_not_on_a_blind_audit(
    planted: Any,
) -> None:
    ids = pa.array(planted.wrong[:1])
    _heat.write(planted.folder, ids, np.full((1, 4, 4), 0.9))
    review = Review(Run(planted.folder), background=False)
    assert "image?row=0&amp;size=heat" in review.card(DEFAULT, "w", row=0)
    assert "size=heat" not in review.card(DEFAULT, "w", row=1)
    assert review.picture(0, "heat")[8:12] == b"WEBP"
    with pytest.raises(NotInRun):
        review.picture(1, "heat")
    blind = review.audit_card("w")
    assert "image?row=" in blind and "size=heat" not in blind
