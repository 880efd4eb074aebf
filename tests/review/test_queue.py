"""Which images come next: in order, filtered, in one window only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.audits.headline import Sums
from labelsieve.review import leases
from labelsieve.review.filters import DEFAULT, GRID, Filters, Sorting
from labelsieve.review.queue import Suspects
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def suspects(planted: Any) -> Suspects:
    return Suspects(planted.run, Decisions(planted.folder))


def ids(suspects: Suspects, rows: Any) -> list[str]:
    return [suspects.columns.sample_id(int(row)) for row in rows]


def test_suspects_come_most_suspicious_first(planted: Any, suspects: Suspects) -> None:
    assert ids(suspects, suspects.find(DEFAULT, "w", 99)) == planted.wrong


def test_filters(planted: Any, suspects: Suspects) -> None:
    pairs = {(planted.given[i], planted.truth[i]) for i in planted.wrong}
    for pair in pairs:
        wanted = [
            i for i in planted.wrong if (planted.given[i], planted.truth[i]) == pair
        ]
        assert ids(suspects, suspects.rows(Filters(*pair))) == wanted
    assert len(suspects.rows(Filters(show="all"))) == len(planted.given)
    kept = ids(suspects, suspects.rows(Filters(show="kept")))
    assert set(kept) == set(planted.given) - set(planted.wrong)
    least = float(np.median(suspects.now.p_wrong[suspects.rows(Filters())]))
    some = suspects.rows(Filters(least=least))
    assert len(some) and (suspects.now.p_wrong[some] >= least).all()
    assert len(some) < len(planted.wrong)
    text = "/00"
    wanted = [i for i in planted.wrong if text in i]
    assert ids(suspects, suspects.rows(Filters(text=text))) == wanted
    assert len(suspects.rows(Filters(given="no such class"))) == 0
    assert len(suspects.rows(Filters(show="no such queue"))) == 0


def test_what_people_said_is_a_filter(planted: Any, suspects: Suspects) -> None:
    said = dict(
        zip(planted.wrong, ("keep", "accept", "none", "wrong", "skip"), strict=False)
    )
    for sample_id, verdict in said.items():
        label = planted.truth[sample_id] if verdict == "accept" else None
        suspects.decisions.add(sample_id, verdict, label)

    def found(decided: str) -> list[str]:
        rows = suspects.rows(Filters(show="all", decided=decided))
        return sorted(said.get(i, "open") for i in ids(suspects, rows))

    assert found("keep") == ["keep"] and found("changed") == ["accept"]
    assert found("none") == ["none"] and found("wrong") == ["wrong"]
    assert found("skip") == ["skip"]
    assert found("settled") == ["accept", "keep", "none"]
    assert found("open") == ["open"] * 43 + ["skip", "wrong"]
    assert len(found("any")) == 48


def test_a_queue_has_its_own_order(planted: Any, suspects: Suspects) -> None:
    suspects.queues["dark"] = np.array([40, 3, 17])
    assert suspects.rows(Filters(show="dark")).tolist() == [40, 3, 17]
    by_name = suspects.rows(Filters(show="dark"), Sorting("name"))
    assert sorted(by_name.tolist()) == [3, 17, 40]


def test_a_shape_on_the_map_is_a_filter(suspects: Suspects) -> None:
    suspects.places = np.full((48, 2), GRID, dtype=np.uint16)
    suspects.places[[4, 9]] = (1000, 2000)
    corners = "500,1500,1500,1500,1500,2500,500,2500"
    rows = suspects.rows(Filters(show="all", lasso=corners))
    assert sorted(rows.tolist()) == [4, 9]


def test_orders(planted: Any, suspects: Suspects) -> None:
    everything = Filters(show="all")
    p = suspects.now.p_wrong
    rows = suspects.rows(everything)
    assert (np.diff(p[rows]) <= 0).all()
    names = [
        suspects.columns.path(int(r))
        for r in suspects.rows(everything, Sorting("name"))
    ]
    assert names == sorted(names)
    labels = suspects.columns.given[suspects.rows(everything, Sorting("class"))]
    assert (np.diff(labels) >= 0).all()
    pairs = suspects.pair_codes(suspects.rows(everything, Sorting("pair"))).tolist()
    # every confusion in one piece, the most frequent first
    runs = [code for n, code in enumerate(pairs) if n == 0 or pairs[n - 1] != code]
    assert len(runs) == len(set(pairs))
    assert [pairs.count(code) for code in runs] == sorted(
        map(pairs.count, runs), reverse=True
    )


def test_what_looks_like_an_image_comes_first(suspects: Suspects) -> None:
    assert suspects.similar is not None
    rows = suspects.rows(Filters(show="all"), Sorting("similar", 7))
    features = suspects.similar.features[suspects.similar.position]
    cosines = features[rows] @ features[7]
    assert rows[0] == 7 and (np.diff(cosines) <= 1e-6).all()


def test_two_windows_never_show_the_same_image(
    planted: Any, suspects: Suspects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ids(suspects, suspects.find(DEFAULT, "w1"))
    assert ids(suspects, suspects.find(DEFAULT, "w2")) == [planted.wrong[1]] != first
    assert ids(suspects, suspects.find(DEFAULT, "w1")) == first == [planted.wrong[0]]
    suspects.hold("w1", suspects.rows(DEFAULT)[:5].tolist())  # a screen of the grid
    assert ids(suspects, suspects.find(DEFAULT, "w2")) == [planted.wrong[5]]
    monkeypatch.setattr(leases, "LEASE", 0.0)  # the first window was left open long ago
    assert ids(suspects, suspects.find(DEFAULT, "w2")) == first


def test_skipped_images_come_again_at_the_end(planted: Any, suspects: Suspects) -> None:
    suspects.decisions.add(planted.wrong[0], "skip")
    suspects.decisions.add(planted.wrong[1], "keep")
    # from the audit: the right label is still to be found
    suspects.decisions.add(planted.wrong[2], "wrong")
    wanted = [*planted.wrong[2:], planted.wrong[0]]
    assert ids(suspects, suspects.find(DEFAULT, "w", 99)) == wanted


def test_progress_only_falls(planted: Any, suspects: Suspects) -> None:
    given = planted.given[planted.wrong[0]]
    assert suspects.progress(replace(DEFAULT, given=given))["all"] == sum(
        planted.given[i] == given for i in planted.wrong
    )
    left = len(planted.wrong)
    for number, sample_id in enumerate(planted.wrong):
        suspects.decisions.add(sample_id, ("keep", "none")[number % 2])
        suspects.refine()
        found = suspects.progress(DEFAULT)
        assert found["all"] - found["done"] == left - 1
        left -= 1
    assert found["wrong"] == len(planted.wrong) // 2
    assert found["learned_from"] == len(planted.wrong)


def test_errors_expected_are_those_of_the_posterior(
    planted: Any, suspects: Suspects
) -> None:
    a, b, c, *_ = planted.wrong
    suspects.decisions.add(a, "accept", "zero")
    suspects.decisions.add(b, "keep")
    suspects.decisions.add(c, "wrong")
    suspects.refine()
    found, sums = suspects.progress(DEFAULT), suspects.sums()
    p = dict(zip(suspects.columns.ids.to_pylist(), suspects.now.p_wrong, strict=True))
    assert (found["done"], found["all"], found["wrong"]) == (2, len(planted.wrong), 2)
    assert p[c] == 1
    assert (sums.decided, sums.found) == (3, 2)
    assert sums.expected == pytest.approx(sum(p.values()) - p[a] - p[b] - p[c])
    assert sums == Sums.of(suspects.now), "the page and the report count alike"


def test_pairs_shrink_as_they_are_decided(planted: Any, suspects: Suspects) -> None:
    before = {(g, s): n for g, s, n in suspects.pairs(99)}
    assert sum(before.values()) == len(planted.wrong)
    first = planted.wrong[0]
    suspects.decisions.add(first, "keep")
    after = {(g, s): n for g, s, n in suspects.pairs(99)}
    pair = (planted.given[first], planted.truth[first])
    assert after.get(pair, 0) == before[pair] - 1
    assert len(suspects.pairs(2)) == 2


def test_search_over_thousands_of_classes(suspects: Suspects) -> None:
    names = [f"class {k}" for k in range(5000)]
    suspects.columns.classes = [*names, "Straße", "cat", "tomcat", "cat flap"]
    assert suspects.search("CAT")[:3] == ["cat", "cat flap", "tomcat"]
    assert suspects.search("STRASSE") == ["Straße"] and suspects.search("zebra") == []
    assert len(suspects.search("class")) == 12


def test_answers_change_the_order_and_undoing_them_brings_it_back(
    planted: Any, suspects: Suspects
) -> None:
    rows = suspects.columns.rows_of(planted.wrong[10:])
    before = suspects.now.p_wrong.copy()
    for sample_id in planted.wrong[:10]:
        suspects.decisions.add(sample_id, "keep")
    suspects.refine()
    # ten false alarms: the others are less suspicious, too
    assert (suspects.now.p_wrong[rows] < before[rows]).all()
    again = Suspects(planted.run, Decisions(planted.folder))
    assert np.array_equal(again.now.p_wrong, suspects.now.p_wrong)
    for _ in range(10):
        suspects.decisions.undo("script")
    suspects.refine()
    assert np.array_equal(suspects.now.p_wrong, before)


def test_other_processes_decisions_are_seen(planted: Any, suspects: Suspects) -> None:
    assert len(suspects.rows(DEFAULT)) == len(planted.wrong)
    Decisions(planted.folder).add(planted.wrong[0], "keep", by="script")
    Decisions(planted.folder).add("not in this run#0", "keep", by="script")
    assert len(suspects.rows(DEFAULT)) == len(planted.wrong) - 1


def test_to_skip_takes_nothing_back(planted: Any, suspects: Suspects) -> None:
    first = planted.wrong[0]
    suspects.decisions.add(first, "wrong")  # in an audit
    suspects.decisions.add(first, "skip")
    assert suspects.progress(DEFAULT)["wrong"] == 1
    wanted = [*planted.wrong[1:], first]
    assert ids(suspects, suspects.find(DEFAULT, "w", 99)) == wanted
