"""Suspects within a budget of bytes: the first large, the rest as large as there is room for."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from labelsieve.report import cards, sets
from labelsieve.runs import standing
from labelsieve.runs.pictures import open_pictures


class Photos:
    """Pictures by number: parts of scikit-learn's photo, of 400 × 300 pixels, so with detail."""

    def __init__(self) -> None:
        from sklearn.datasets import load_sample_image

        self.photo = np.asarray(load_sample_image("china.jpg"))
        self.encoded: dict[int, bytes] = {}

    def read(self, sample_id: str) -> bytes:
        left = int(sample_id) * 7 % 200
        if left not in self.encoded:
            buffer = io.BytesIO()
            Image.fromarray(self.photo[:300, left : left + 400]).save(buffer, "JPEG")
            self.encoded[left] = buffer.getvalue()
        return self.encoded[left]


def sides(pictures: list[str]) -> list[int]:
    return [max(Image.open(io.BytesIO(base64.b64decode(p))).size) for p in pictures]


def test_pictures_shrink_towards_the_end_and_keep_to_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cards, "LARGE", 3)
    monkeypatch.setattr(cards, "MEDIUM", 4)
    monkeypatch.setattr(cards, "BUDGET", 20 * 1400)  # of base64, for what follows
    found = cards._pictures([str(k) for k in range(27)], Photos(), range(26, -1, -1))
    assert sides(found[:3]) == [400] * 3 and sides(found[3:7]) == [240] * 4
    assert all(48 <= side <= 112 for side in sides(found[7:]))
    assert sum(map(len, found[7:])) <= 20 * 1400


@pytest.mark.slow
def test_ten_thousand_stay_below_25_megabytes() -> None:
    ids = [str(k) for k in range(cards.MOST)]
    found = cards._pictures(ids, Photos(), range(cards.MOST))
    # reasons, words and libraries: a megabyte each at most
    assert sum(map(len, found)) < 22_000_000


def test_suspects_are_those_of_the_run_in_its_order(planted: Any) -> None:
    now = standing.of_run(planted.run)
    rows = cards.order(now)
    found = cards.suspects(planted.run, now, rows, open_pictures(planted.run))
    flagged = [r for r in planted.run.scores.to_pylist() if r["is_label_issue"]]
    assert found.path == [r["path"] for r in flagged]
    assert [found.classes[k] for k in found.given] == [
        r["given_label"] for r in flagged
    ]
    assert np.allclose(found.wrong, [1 - r["p_clean"] for r in flagged], atol=1e-4)
    # of a wrong label the suggestion is another class, and both have trusted pictures beside
    for row, near in found.near.items():
        assert [label for label, _ in near] == [found.given[row], found.suggested[row]]
        assert all(
            0 <= number < len(found.pool) for _, numbers in near for number in numbers
        )
    # the same trusted picture stands beside many, and is stored once
    assert len(set(found.pool)) == len(found.pool)


def test_what_people_called_wrong_is_a_suspect_too(planted: Any) -> None:
    from labelsieve.runs.decisions import Decisions

    right = next(i for i in planted.given if i not in planted.wrong)
    Decisions(planted.folder).add(right, "none")
    now = standing.of_run(planted.run)
    rows = cards.order(now)
    assert right in now.ids.take(rows).to_pylist()
    found = cards.suspects(planted.run, now, rows, open_pictures(planted.run))
    assert found.verdict.count("none") == 1


def test_a_picture_that_is_gone_is_empty(planted: Any) -> None:
    now = standing.of_run(planted.run)
    rows = cards.order(now)
    pictures = open_pictures(planted.run)
    gone = planted.data / planted.run.scores["path"][0].as_py().replace("\\n", "\n")
    gone.unlink()
    found = cards.suspects(planted.run, now, rows, pictures)
    assert found.picture[0] == "" and all(found.picture[1:])


def test_confusions_have_examples(planted: Any) -> None:
    now = standing.of_run(planted.run)
    shown = cards.examples(
        planted.run, now, cards.order(now), open_pictures(planted.run)
    )
    assert shown and len(shown) <= 8
    for pair in shown:
        assert len(pair["embedded"]) == min(4, pair["flagged"])
        assert all(map(base64.b64decode, pair["embedded"]))


def test_votes_are_shown_where_there_were_any(planted: Any) -> None:
    now, pictures = standing.of_run(planted.run), open_pictures(planted.run)
    rows = cards.order(now)[:3]
    assert cards.suspects(planted.run, now, rows, pictures).agreement == []
    scores = planted.run.scores
    votes = pa.array([*[0.75, None, 1.0], *[0.5] * (len(scores) - 3)])
    planted.run.__dict__["scores"] = scores.append_column("agreement", votes)
    shown = cards.suspects(planted.run, now, rows, pictures)
    assert shown.agreement == votes.take(pa.array(rows)).to_pylist()


def test_what_is_nearly_sure_stays_so_in_four_digits() -> None:
    shares = np.array([0.0, 1e-9, 0.12345678, 1 - 1e-9, 1.0])
    assert sets.short(shares).tolist() == [0.0, 0.0001, 0.1235, 0.9999, 1.0]
