"""Evidence joined with ids against naive loops, quality against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve import registry, tables
from labelsieve.data.dataset import prepare
from labelsieve.data.spec import DataSpec
from labelsieve.estimation import flagging
from labelsieve.estimation.agreement import FITS, LITTLE, NOTHING, PARTLY, Agreement
from labelsieve.estimation.noise_rate import Noise
from labelsieve.methods import Evidence
from labelsieve.models.load import preprocess_of
from labelsieve.pipeline import results


@pytest.fixture(scope="module")
def data(digits: tuple[np.ndarray, np.ndarray]) -> tuple[pa.Table, Any]:
    """A manifest of thirty digits and a broken picture, and what a method sees of it."""
    images, truth = digits
    rows = np.flatnonzero(truth < 3)[:30]
    pictures = [*images[rows], b"broken"]
    labels = [*(f"d{k}" for k in truth[rows]), "d0"]
    preprocess = preprocess_of("tiny")
    prepared = prepare(DataSpec((pictures, labels), template="a {}."), preprocess)
    return prepared.manifest.table, prepared.dataset


def evidence(images: Any, seed: int, ties: bool = False, **more: Any) -> Evidence:
    rng = np.random.default_rng(seed)
    n, k = len(images), len(images.classes)
    probs = rng.dirichlet(np.ones(k), n)
    p_clean = np.round(rng.random(n), 1) if ties else rng.random(n)
    return Evidence(p_clean, p_clean < 0.3, probs.argmax(1), probs, **more)


@pytest.mark.parametrize("ties", [False, True])
def test_every_image_gets_its_own_evidence(
    data: tuple[pa.Table, Any], ties: bool
) -> None:
    manifest, images = data
    result = evidence(
        images, 1, ties, columns={"logit": np.arange(len(images), dtype=np.float32)}
    )
    table = results.scores_table(manifest, images, result)
    assert table.column_names == [*tables.SCORES.names, "logit"]
    assert table.select(tables.SCORES.names).schema.equals(tables.SCORES)
    by_id = {row["sample_id"]: row for row in table.to_pylist()}
    assert by_id.keys() == set(manifest["sample_id"].to_pylist())
    for i, sample_id in enumerate(images.ids.to_pylist()):
        row, given = by_id[sample_id], images.labels[i]
        other = max(
            result.probs[i, k] for k in range(len(images.classes)) if k != given
        )
        assert row["p_clean"] == result.p_clean[i]
        assert row["is_label_issue"] == result.flagged[i]
        assert row["given_label"] == images.classes[given]
        assert row["suggested_label"] == images.classes[result.suggested[i]]
        assert row["suggested_prob"] == result.probs[i, result.suggested[i]]
        assert row["margin"] == pytest.approx(result.probs[i, given] - other, abs=1e-15)
        assert row["logit"] == i
    (left_out,) = [row for row in by_id.values() if row["status"] != "ok"]
    assert left_out["status"] == "corrupt" and left_out["reason"]
    assert all(
        left_out[c] is None
        for c in (
            "p_clean",
            "is_label_issue",
            "suggested_label",
            "margin",
            "rank",
            "logit",
        )
    )


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_are_the_order_of_suspicion(
    data: tuple[pa.Table, Any], ties: bool
) -> None:
    manifest, images = data
    rows = results.scores_table(manifest, images, evidence(images, 2, ties)).to_pylist()
    scored = [row for row in rows if row["rank"] is not None]
    assert rows[: len(scored)] == scored, "what could not be scored comes last"
    assert [row["rank"] for row in scored] == list(range(1, len(images) + 1))
    assert scored == sorted(
        scored, key=lambda r: (r["p_clean"], r["margin"], r["sample_id"])
    )


def test_probabilities_are_kept_by_id(data: tuple[pa.Table, Any]) -> None:
    _, images = data
    result = evidence(images, 3)
    table = results.probs_table(images, result)
    assert table["sample_id"].to_pylist() == images.ids.to_pylist()
    assert np.array_equal(
        np.array(table["probs"].to_pylist(), np.float32),
        result.probs.astype(np.float32),
    )


def test_quality_is_counted_over_scored_images_with_a_truth() -> None:
    scores = pa.table(
        {
            "sample_id": list("abcdefg"),
            "given_label": ["x", "x", "y", "y", "x", "y", "x"],
            "p_clean": [0.1, 0.2, 0.3, 0.9, 0.8, 0.4, None],
            "is_label_issue": [True, True, True, False, False, False, None],
            "suggested_label": ["y", "y", "x", "y", "x", "x", None],
        }
    )
    truth = pa.table(
        {
            "sample_id": list("gfedcba"),
            "true_label": ["y", None, "y", "y", "y", "x", "y"],
        }
    )
    result = results.evaluate_detection(scores, truth)
    # a: wrong, flagged, y is right. b: right, flagged. c: right, flagged. d: right.
    # e: wrong, missed. f: no truth. g: no score.
    assert result is not None
    assert (result["images"], result["wrong"]) == (5, 2)
    assert result["precision"] == pytest.approx(1 / 3) and result[
        "recall"
    ] == pytest.approx(1 / 2)
    assert result["f1"] == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert result["suggestion_accuracy"] == pytest.approx(2 / 5)  # a and d
    assert result["suggestion_accuracy_on_wrong"] == pytest.approx(1 / 2)  # a, not e
    assert result["auroc"] == pytest.approx(4 / 6)  # a before b, c, d; e before d only


def test_without_truth_there_is_no_quality() -> None:
    scores = pa.table(
        {
            "sample_id": ["a"],
            "given_label": ["x"],
            "p_clean": [0.5],
            "is_label_issue": [True],
            "suggested_label": ["y"],
        }
    )
    assert results.evaluate_detection(scores, None) is None
    nothing = pa.table(
        {"sample_id": ["a"], "true_label": pa.array([None], pa.string())}
    )
    assert results.evaluate_detection(scores, nothing) is None


def test_the_noise_of_a_posterior_is_its_mean(data: tuple[pa.Table, Any]) -> None:
    _, images = data
    result = evidence(images, 4, posterior=True, rates=(0.9,))
    noise = results.estimate_noise(result, images, 0)
    given = result.probs[np.arange(len(images)), images.labels]
    assert noise.rate == pytest.approx(1 - given.mean())
    assert noise.low < noise.rate < 0.9 < noise.high
    for k, name in enumerate(images.classes):
        assert noise.per_class[name] == pytest.approx(
            1 - given[images.labels == k].mean()
        )


def test_labels_under_swapped_names_are_counted(data: tuple[pa.Table, Any]) -> None:
    _, images = data
    k = len(images.classes)
    # what learned from the labels finds nothing wrong with them
    certain = np.full((len(images), k), 1e-3)
    certain[np.arange(len(images)), images.labels] = 1 - 1e-3 * (k - 1)
    result = Evidence(
        certain.max(1), certain.max(1) < 0, images.labels, certain, posterior=True
    )
    a, b = images.classes[:2]
    noise = results.estimate_noise(result, images, 0, renamed={a: b, b: a})
    share = (images.labels < 2).mean()
    assert noise.renamed == pytest.approx(share)
    assert noise.rate == pytest.approx(share, abs=0.01)
    assert results.estimate_noise(result, images, 0).rate < 0.01


def test_class_probabilities_that_are_no_posterior_are_judged_with_the_labels(
    data: tuple[pa.Table, Any],
) -> None:
    _, images = data
    k = len(images.classes)
    sure = np.full((len(images), k), 0.01 / (k - 1))
    sure[np.arange(len(images)), images.labels] = 0.99
    agree = Evidence(sure[:, 0], sure[:, 0] < 0, images.labels, sure)
    assert results.estimate_noise(agree, images, 0).rate < 0.1
    turned = np.roll(sure, 1, axis=1)  # the pictures say another class for every label
    assert (
        results.estimate_noise(
            Evidence(sure[:, 0], sure[:, 0] < 0, images.labels, turned), images, 0
        ).rate
        > 0.5
    )


def test_a_reference_that_predicts_the_labels_better_is_selected(
    data: tuple[pa.Table, Any],
) -> None:
    _, images = data
    k, each = len(images.classes), np.arange(len(images))
    knowing = np.full((len(images), k), 0.02)
    knowing[each, images.labels] = 1 - 0.02 * (k - 1)
    result = evidence(images, 5)  # class probabilities without any meaning
    alone = results.estimate_noise(result, images, 0)
    helped = results.estimate_noise(
        result, images, 0, {"text": np.full_like(knowing, 1 / k), "pictures": knowing}
    )
    assert (alone.reference, helped.reference) == (
        "method",
        "pictures",
    ) and helped.as_dict()["witness"] == "pictures"
    assert helped.rate < 0.1 < alone.rate and helped.low < 0.01
    told = Evidence(result.p_clean, result.flagged, result.suggested, knowing)
    assert (
        results.estimate_noise(told, images, 0, {"text": result.probs}).reference
        == "method"
    )
    posterior = evidence(images, 4, posterior=True)
    assert (
        results.estimate_noise(posterior, images, 0, {"pictures": knowing}).reference
        == "method"
    )


def test_counts(planted: Any) -> None:
    # under another name, and still the item that was scanned
    ids = ["a#1", "b#2", f"c#{planted.wrong[0].rpartition('#')[2]}"]
    p_clean, flagged = [0.1, None, 0.3], [True, None, False]
    table = pa.table({"sample_id": ids, "p_clean": p_clean, "is_label_issue": flagged})
    counts = results.count_scores(table, Path("x.csv"), planted.run)
    assert counts == {
        "images": 3,
        "noun": "image",
        "scored": 2,
        "flagged": 1,
        "scanned": 1,
        "scan": str(planted.folder / "scores.parquet"),
        "file": "x.csv",
    }


def test_files_that_a_run_has_are_listed(
    scanned: Any, call: Callable[..., Any]
) -> None:
    for name, path in scanned.printed["files"].items():
        assert Path(path).exists(), name
    assert {
        "scores.parquet",
        "scores.csv",
        "report.html",
        "run.json",
        "detector",
    } <= scanned.printed["files"].keys()


# --- warnings about class names


def agreed(verdict: str, *, pictures_tell: bool = True) -> Agreement:
    unknown = {PARTLY: ("b", "f")}.get(verdict, ())
    return Agreement(
        9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, pictures_tell, verdict, unknown, {}
    )


def test_warnings_are_for_methods_that_read_names() -> None:
    for name in registry.names("methods"):
        reads = "text" in registry.constants("methods", name, ("NEEDS",))["needs"]
        assert results.text_warnings(agreed(FITS), name) == []
        for verdict in (PARTLY, LITTLE, NOTHING):
            assert len(results.text_warnings(agreed(verdict), name)) == int(reads)
        assert (name in results.textless()) == (not reads)


def test_warnings_name_what_helps() -> None:
    (some,) = results.text_warnings(agreed(PARTLY), "deft")
    (everything,) = results.text_warnings(agreed(NOTHING), "deft")
    assert "does not know these classes by name: b, f." in some
    assert "Text is the wrong tool here" in everything
    for warning in (some, everything):
        # deft goes by the pictures then, so that nobody need leave it (docs/guide/methods.md)
        assert "from the pictures" in warning and "--class-names" in warning
    for verdict in (PARTLY, NOTHING):
        (warning,) = results.text_warnings(agreed(verdict), "zero-shot")
        assert "take deft, which learns them from the pictures" in warning
        named = warning.rpartition(": ")[2].rstrip(".").split(", ")
        assert {"knn", "aum", "simifeat"} <= set(named)
    (blind,) = results.text_warnings(agreed(NOTHING, pictures_tell=False), "deft")
    assert blind.endswith("take another --model.")


@pytest.mark.parametrize(
    ("high", "rule", "fewer"),
    [
        (0.8, flagging.BY_F1, True),
        (0.8, "known rate", False),
        (0.3, flagging.BY_F1, False),
    ],
)
def test_flags_are_modest_where_nothing_can_be_said(
    data: tuple[pa.Table, Any], high: float, rule: str, fewer: bool
) -> None:
    _, images = data
    found = evidence(images, 3, facts={"flags_by": rule})
    found = replace(found, flagged=np.ones(len(images), dtype=bool))
    noise = Noise(0.2, 0.0, high, {}, [], np.eye(len(images.classes)))
    flagged = results.modest(found, images, noise).flagged
    expected = round(float((1 - found.p_clean).sum()))
    assert flagged.sum() == (expected if fewer else len(images))
    # the most suspicious stay
    assert not fewer or found.p_clean[flagged].max() <= found.p_clean[~flagged].min()
