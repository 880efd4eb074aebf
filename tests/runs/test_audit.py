from __future__ import annotations

from labelsieve.runs import audit
from labelsieve.runs.audit import judged, order
from labelsieve.runs.decisions import Decision, Decisions


def test_the_order_depends_on_ids_alone() -> None:
    ids = [f"{k}.png#abc" for k in range(200)]
    assert order(ids) == order(ids[::-1]) != sorted(ids)
    assert order(ids, 1) != order(ids)
    assert [i for i in order(ids) if i in set(ids[:50])] == order(ids[:50])


def test_the_order_is_that_of_earlier_versions() -> None:
    """Recorded: the answers of an audit that was begun before must stay its answers."""
    assert order(["a", "b", "c", "d", "e"]) == RECORDED


RECORDED = ["d", "a", "b", "e", "c"]


def test_only_the_unbroken_start_of_the_order_counts() -> None:
    def said(verdict: str) -> Decision:
        return Decision(1, "", verdict, None, "w", "", None)

    current = {
        "a": said("keep"),
        "b": said("accept"),
        "c": said("skip"),
        "d": said("wrong"),
        "f": said("none"),
    }
    # e is missing: f does not count
    assert judged(list("abcdef"), current) == (["a", "b", "d"], [False, True, True])


def test_audit_of_a_run(planted: object) -> None:
    run, truth, given = planted.run, planted.truth, planted.given  # type: ignore[attr-defined]
    assert audit.of_run(run, None) is None
    decisions = Decisions(run.folder)
    assert audit.of_run(run, decisions) is None
    for sample_id in order(list(given))[:40]:
        decisions.add(
            sample_id, "keep" if truth[sample_id] == given[sample_id] else "wrong"
        )
    found = audit.of_run(run, decisions)
    assert found is not None and found.judged == 40
    assert found.low <= 0.25 <= found.high and found.wrong == sum(
        truth[i] != given[i] for i in order(list(given))[:40]
    )


def test_who_reviews_suspects_has_begun_no_audit(planted: object) -> None:
    run, given = planted.run, planted.given  # type: ignore[attr-defined]
    decisions = Decisions(run.folder)
    in_order = order(list(given))
    # the first one by chance, and many others
    for sample_id in [in_order[0], *in_order[12:40]]:
        decisions.add(sample_id, "keep")
    assert audit.of_run(run, decisions) is None
    for sample_id in in_order[1:12]:
        decisions.add(sample_id, "keep")
    found = audit.of_run(run, decisions)
    assert found is not None and found.judged == 40
    decisions.close()
