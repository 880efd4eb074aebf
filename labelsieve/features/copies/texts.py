"""Near-duplicates among texts: the same words but for a few, or one text within another.

Candidates are each text's nearest others in the space of the encoder; what they are is settled by
their words, in threes. Two texts are copies where they share nearly all of these (Broder, "On the
resemblance and containment of documents", 1997), and one is a part of the other where nearly all
of its own are in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from labelsieve.features.copies.duplicates import COPY, CROP, KINDS, Pairs

SHINGLE = 3  # words that stand behind each other
# Share of these that two texts have in common: one word in sixty changes three of them.
SAME = 0.8
WITHIN = 0.9  # share of a part's own
FEWEST = 8  # words: shorter texts are alike by chance
LONGEST = 2_000  # words that are looked at
BLOCK = 2_048  # texts that are looked at once
WORD = re.compile(r"\w+")


def find(read: Callable[[np.ndarray], Sequence[str]], near: np.ndarray) -> Pairs:
    """Near-duplicates among n texts.

    Args:
        read: rows [b] -> their texts.
        near: [n, m] int64, rows of the nearest other texts; m may be 0.
    """
    found: list[tuple[int, int, int, float]] = []
    candidates = _candidates(near)
    for start in range(0, len(candidates), BLOCK):
        pairs = candidates[start : start + BLOCK]
        rows = np.unique(pairs)
        # of some thousand texts at a time: a million sets of shingles would fill the memory
        texts = dict(zip(rows.tolist(), map(shingles, read(rows)), strict=True))
        for first, second in pairs.tolist():
            judged = compare(texts[first], texts[second])
            if judged is not None:
                kind, similarity, turned = judged
                order = (second, first) if turned else (first, second)
                found.append((*order, KINDS.index(kind), similarity))
    columns = np.array(found, dtype=np.float64).reshape(-1, 4).T
    first, second, kinds = (columns[i].astype(np.int64) for i in range(3))
    return Pairs(first, second, kinds, columns[3].astype(np.float32))


def _candidates(near: np.ndarray) -> np.ndarray:
    """[p, 2] rows of pairs, each once, the smaller row first."""
    n, m = near.shape
    pairs = np.stack([np.repeat(np.arange(n), m), near.reshape(-1)], axis=1)
    # each may be a neighbour of the other
    return np.unique(np.sort(pairs, axis=1), axis=0)


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Words in threes, without case and signs; none of a short text."""
    words = WORD.findall(text.casefold())[:LONGEST]
    if len(words) < FEWEST:
        return frozenset()
    return frozenset(zip(*(words[i:] for i in range(SHINGLE)), strict=False))


def compare(
    a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]
) -> tuple[str, float, bool] | None:
    """Kind, similarity and, of a part, whether it is the first; None where they only resemble."""
    if not a or not b:
        return None
    both = len(a & b)
    same = both / (len(a) + len(b) - both)
    if same >= SAME:
        return COPY, same, False
    within = both / min(len(a), len(b))
    # the whole comes first, then its part
    return (CROP, within, len(a) < len(b)) if within >= WITHIN else None
