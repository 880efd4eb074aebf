"""Near-duplicates among texts, against sets counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.features.copies import texts
from labelsieve.features.copies.duplicates import KINDS

STORY = "The bank said on Monday that it would raise its rates again before the end of the year"
OTHER = "A striker scored twice in the last ten minutes and sent the home team into the final"
CHANGED = (
    f"{STORY}, the third time since spring came late and the snow had melted in May"
)


def naive(a: str, b: str) -> tuple[float, float]:
    """Resemblance and containment of words in threes."""

    def threes(text: str) -> set[str]:
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        return {" ".join(words[i : i + 3]) for i in range(len(words) - 2)}

    one, two = threes(a), threes(b)
    both = len(one & two)
    return both / len(one | two), both / min(len(one), len(two))


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        (STORY, f"{STORY.upper()}!", "copy"),
        (f"{STORY}. {OTHER}", f"{STORY}. {OTHER} here", "copy"),
        (STORY, CHANGED, "crop"),
        (CHANGED, STORY, "crop"),
        (STORY, OTHER, None),
        (
            STORY,
            STORY.replace("bank", "b").replace("rates", "r").replace("end", "e"),
            None,
        ),
        ("too short a text", "too short a text", None),
    ],
)
def test_words_in_threes_decide(a: str, b: str, kind: str | None) -> None:
    judged = texts.compare(texts.shingles(a), texts.shingles(b))
    if kind is None:
        assert judged is None
        return
    assert judged is not None and judged[0] == kind
    same, within = naive(a, b)
    assert judged[1] == pytest.approx(same if kind == "copy" else within)
    assert judged[2] == (kind == "crop" and len(a) < len(b))


def test_pairs_are_found_among_neighbours_once_with_the_whole_first() -> None:
    rows = [STORY, OTHER, CHANGED, f"{OTHER}.", "something else entirely " * 9]
    near = np.array([[2, 1], [3, 0], [0, 1], [1, 4], [0, 3]])

    def read(numbers: np.ndarray) -> list[str]:
        return [rows[number] for number in numbers]

    found = texts.find(read, near)
    as_text = {(p.first, p.second, p.kind, round(p.similarity, 3)) for p in found}
    assert as_text == {(2, 0, "crop", 1.0), (1, 3, "copy", 1.0)}
    assert len(texts.find(read, np.empty((5, 0), dtype=np.int64))) == 0
    assert KINDS[0] == "copy"
