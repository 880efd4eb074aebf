"""The run as it stands: one posterior, whatever people decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve.estimation.audits.answers import Learner
from labelsieve.runs import standing
from labelsieve.runs.decisions import Decisions


def consistent(now: standing.Standing) -> None:
    """Nothing contradicts itself."""
    rows = np.arange(len(now.given))
    np.testing.assert_allclose(now.posterior[rows, now.given], now.p_clean, atol=1e-6)
    total = now.posterior.sum(1)
    none = now.verdicts == "none"
    np.testing.assert_allclose(total[~none], 1, atol=1e-5)
    assert (total[none] == 0).all()
    other = now.suggested != now.given
    assert (now.p_wrong[other] >= now.suggested_prob[other] - 1e-6).all()
    assert (now.p_wrong >= now.best_other_prob - 1e-6).all()


def test_without_decisions_it_is_the_scan(planted: Any) -> None:
    now = standing.of_run(planted.run)
    table = now.table()
    scores = planted.run.scores
    for name in ("sample_id", "p_clean", "is_label_issue", "suggested_label"):
        assert table[name].to_pylist() == scores[name].to_pylist()
    np.testing.assert_allclose(
        table["suggested_prob"].to_numpy(),
        scores["suggested_prob"].to_numpy(),
        atol=1e-6,
    )
    assert table["verdict"].null_count == len(scores) and now.learned_from == 0
    consistent(now)


def test_what_people_decided_is_certain(planted: Any) -> None:
    decisions = Decisions(planted.folder)
    accepted, other, none, kept, wrong, skipped, *_ = planted.wrong
    truth, given = planted.truth, planted.given
    decisions.add(accepted, "accept", truth[accepted])
    decisions.add(other, "other", truth[other])
    decisions.add(none, "none")
    decisions.add(kept, "keep")
    decisions.add(wrong, "wrong")
    decisions.add(skipped, "skip")
    now = standing.of_run(planted.run, decisions)
    consistent(now)
    rows = {row["sample_id"]: row for row in now.table().to_pylist()}
    for sample_id in (accepted, other):
        row = rows[sample_id]
        assert row["p_clean"] == 0 and row["suggested_prob"] == 1
        assert row["suggested_label"] == truth[sample_id] and row["is_label_issue"]
    assert rows[kept]["p_clean"] == 1 and not rows[kept]["is_label_issue"]
    assert rows[none]["p_clean"] == 0 and rows[none]["suggested_label"] is None
    assert rows[wrong]["p_clean"] == 0 and rows[wrong]["verdict"] == "wrong"
    assert rows[skipped]["verdict"] is None and now.learned_from == 5
    label = dict(zip(now.ids.to_pylist(), now.labels, strict=True))
    assert label[accepted] == truth[accepted] and label[kept] == given[kept]
    assert label[none] is None and label[wrong] is None
    assert label[skipped] == given[skipped]


def test_answers_change_what_is_said_about_the_others(planted: Any) -> None:
    before = standing.of_run(planted.run)
    decisions = Decisions(planted.folder)
    right = [i for i in planted.given if i not in planted.wrong]
    for sample_id in planted.wrong[:6]:
        decisions.add(sample_id, "keep")
    after = before.updated(decisions.all_current())
    consistent(after)
    rest = after.at.rows(planted.wrong[6:])
    assert (after.p_wrong[rest] < before.p_wrong[rest]).all()
    # undone, everything is as it was
    for _ in range(6):
        decisions.undo("script")
    again = after.updated(decisions.all_current())
    assert np.array_equal(again.p_clean, before.p_clean)
    assert np.array_equal(again.posterior, before.posterior)
    assert len(right) + len(planted.wrong) == len(after.given)


def test_audit_answers_count_and_decisions_are_found_in_the_folder(
    planted: Any,
) -> None:
    decisions = Decisions(planted.folder)
    decisions.add(planted.wrong[0], "wrong", by="audit")
    decisions.close()
    now = standing.of_run(planted.run)
    assert now.learned_from == 1
    assert now.verdicts[now.at[planted.wrong[0]]] == "wrong"


def test_best_other_is_never_the_label() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]], dtype=np.float32)
    other, prob = standing.best_other(probs, np.array([0, 1]))
    assert other.tolist() == [1, 0]
    np.testing.assert_allclose(prob, [0.2, 0.0], atol=1e-7)
    assert isinstance(pa.array(other), pa.Array)


def test_features_are_read_from_the_disk_a_part_at_a_time(planted: Any) -> None:
    scanned = standing.read(planted.run)
    assert scanned.features is not None
    assert isinstance(scanned.features.array, np.memmap)
    rows = scanned.features.rows
    whole = np.asarray(scanned.features.array)[rows]
    assert scanned.features.shape == whole.shape
    assert np.array_equal(scanned.features[3:9], whole[3:9])
    # what is learned does not depend on where they lie
    other = Learner(
        1 - scanned.p_clean, scanned.given, scanned.learner.suggested, whole
    )
    assert np.array_equal(other.second, scanned.learner.second)


def test_scores_as_they_stand_are_those_of_the_page(planted: Any) -> None:
    assert standing.scores_of(planted.run).equals(planted.run.scores)
    sample_id = planted.wrong[0]
    decisions = Decisions(planted.folder)
    decisions.add(sample_id, "accept", planted.truth[sample_id])
    decisions.close()
    found = standing.scores_of(planted.run)
    rows = {row["sample_id"]: row for row in found.to_pylist()}
    assert rows[sample_id]["p_clean"] == 0
    assert rows[sample_id]["suggested_label"] == planted.truth[sample_id]
    for row in standing.of_run(planted.run).table().to_pylist():
        for name in standing.CORRECTED:
            assert rows[row["sample_id"]][name] == row[name]
    # for programs, too
    frame = planted.run.to_pandas().set_index("sample_id")
    assert frame.loc[sample_id, "suggested_prob"] == 1
