from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelsieve.review import leases
from labelsieve.review.queue import BATCH, Filters, Suspects
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def suspects(planted: Any) -> Suspects:
    return Suspects(planted.run, Decisions(planted.folder))


def ids(suspects: Suspects, rows: list[int]) -> list[str]:
    return [suspects.rows[r]["sample_id"] for r in rows]


def test_suspects_come_most_suspicious_first(planted: Any, suspects: Suspects) -> None:
    assert ids(suspects, suspects.find(Filters(), "w", 99)) == planted.wrong


def test_filters(planted: Any, suspects: Suspects) -> None:
    for given, suggested in {
        (planted.given[i], planted.truth[i]) for i in planted.wrong
    }:
        wanted = [
            i
            for i in planted.wrong
            if (planted.given[i], planted.truth[i]) == (given, suggested)
        ]
        assert (
            ids(suspects, suspects.find(Filters(given, suggested), "w", 99)) == wanted
        )
        assert ids(
            suspects, suspects.bulk(given, suggested, 0.95)
        ) == wanted and not suspects.bulk(given, suggested, 0.96)
    assert len(suspects.find(Filters(everything=True), "w", 99)) == len(planted.given)
    some = suspects.find(Filters(least=0.9), "w", 99)
    assert (
        some
        and all(suspects.p_wrong[r] >= 0.9 for r in some)
        and len(some) < len(planted.wrong)
    )


def test_two_windows_never_show_the_same_image(
    planted: Any, suspects: Suspects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ids(suspects, suspects.find(Filters(), "w1"))
    assert ids(suspects, suspects.find(Filters(), "w2")) == [planted.wrong[1]] != first
    assert ids(suspects, suspects.find(Filters(), "w1")) == first == [planted.wrong[0]]
    monkeypatch.setattr(leases, "LEASE", 0.0)  # the first window was left open long ago
    assert ids(suspects, suspects.find(Filters(), "w2")) == first


def test_skipped_images_come_again_at_the_end(planted: Any, suspects: Suspects) -> None:
    suspects.decisions.add(planted.wrong[0], "skip")
    suspects.decisions.add(planted.wrong[1], "keep")
    suspects.decisions.add(
        planted.wrong[2], "wrong"
    )  # from the audit: the right label is still to be found
    assert ids(suspects, suspects.find(Filters(), "w", 99)) == [
        *planted.wrong[2:],
        planted.wrong[0],
    ]


def test_progress_and_expected_errors_left(planted: Any, suspects: Suspects) -> None:
    p = {row["sample_id"]: 1 - row["p_clean"] for row in suspects.rows}
    a, b, c, *_ = planted.wrong
    suspects.decisions.add(a, "accept", "zero")
    suspects.decisions.add(b, "keep")
    suspects.decisions.add(c, "wrong")
    found = suspects.progress(Filters())
    assert (found["done"], found["all"], found["wrong"]) == (2, len(planted.wrong), 2)
    assert found["left"] == pytest.approx(sum(p.values()) - p[a] - p[b] - p[c] + 1)
    given = planted.given[a]
    assert suspects.progress(Filters(given=given))["all"] == sum(
        planted.given[i] == given for i in planted.wrong
    )


def test_pairs_shrink_as_they_are_decided(planted: Any, suspects: Suspects) -> None:
    before = dict(((g, s), n) for g, s, n in suspects.pairs())
    assert sum(before.values()) == len(planted.wrong)
    first = planted.wrong[0]
    suspects.decisions.add(first, "keep")
    after = dict(((g, s), n) for g, s, n in suspects.pairs())
    pair = (planted.given[first], planted.truth[first])
    assert after.get(pair, 0) == before[pair] - 1


def test_search_over_thousands_of_classes(suspects: Suspects) -> None:
    suspects.classes = [f"class {k}" for k in range(5000)] + [
        "Straße",
        "cat",
        "tomcat",
        "cat flap",
    ]
    assert suspects.search("CAT")[:3] == ["cat", "cat flap", "tomcat"]
    assert suspects.search("STRASSE") == ["Straße"] and suspects.search("zebra") == []
    assert len(suspects.search("class")) == 12


def test_a_batch_of_decisions_refines_the_order(
    planted: Any, suspects: Suspects
) -> None:
    for sample_id in planted.wrong[: BATCH - 1]:
        suspects.decisions.add(sample_id, "keep")
    assert not suspects.refine_if_due() and suspects.refined_on == 0
    suspects.decisions.add(planted.wrong[BATCH - 1], "keep")
    left = [suspects.at[i] for i in planted.wrong[BATCH:]]
    before = suspects.p_wrong[left]
    assert suspects.refine_if_due() and suspects.refined_on == BATCH
    assert (
        suspects.p_wrong[left] < before
    ).all()  # ten false alarms: the others are less suspicious, too
    for _ in range(BATCH):
        suspects.decisions.undo("script")
    assert suspects.refine_if_due() and np.array_equal(
        suspects.p_wrong, suspects.scored_wrong
    )


def test_refinement_survives_a_restart(planted: Any, suspects: Suspects) -> None:
    for sample_id in planted.wrong[:BATCH]:
        suspects.decisions.add(sample_id, "keep")
    suspects.refine_if_due()
    assert np.array_equal(
        Suspects(planted.run, Decisions(planted.folder)).p_wrong, suspects.p_wrong
    )


def test_the_audit_walks_its_order(planted: Any, suspects: Suspects) -> None:
    seen = []
    for _ in range(12):
        upcoming = suspects.audit_state()["next"]
        assert upcoming not in seen
        seen.append(upcoming)
        suspects.decisions.add(
            upcoming, "wrong" if upcoming in planted.wrong else "keep"
        )
    found = suspects.audit_state()
    assert found["judged"] == 12 and found["estimate"].wrong == sum(
        i in planted.wrong for i in seen
    )


def test_to_skip_takes_nothing_back(planted: Any, suspects: Suspects) -> None:
    first = planted.wrong[0]
    suspects.decisions.add(first, "wrong")  # in an audit
    suspects.decisions.add(first, "skip")
    assert (
        suspects.decisions.current(first).verdict == "wrong"
        and suspects.progress(Filters())["wrong"] == 1
    )  # type: ignore[union-attr]
    assert ids(suspects, suspects.find(Filters(), "w", 99)) == [
        *planted.wrong[1:],
        first,
    ]
