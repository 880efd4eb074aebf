"""A list with a promised share of mistakes, from a random audit: conformal selection.

Jin and Candès, "Selection by prediction with conformal p-values", Journal of Machine Learning
Research 24 (2023), section 2; the mirror, labels that are right, is "Conformal
Labeling" (arXiv 2510.14581). N rows have a score s, of which nothing is assumed; n of them were
drawn at random and judged. For a list of wrong labels a row is null where its label is right (it
would be a false alarm), for a list of right labels where it is wrong. The p-value of a row j that
nobody judged is

    p_j = (1 + #{judged i: null, s_i ≥ s_j}) / (n + 1),

and Benjamini and Hochberg's procedure at q takes the k smallest with the largest k such that
p_(k) ≤ q k / m, where m = N − n. Then E[null rows in the list / rows in the list] ≤ q (an empty
list counts as 0), whatever the scores are worth.

Why it holds: had row j been judged, too, it would be any of the n + 1 with equal chance, so that
a null row is among the k highest of the nulls with a chance of at most k / (n + 1); and how many
rows are selected when j is does not depend on which of the n + 1 it is (docs/guide/guarantee.md has
the proof). What it needs: rows were drawn with equal chances, and neither score nor q was chosen by
the answers.

The paper breaks ties at random; here they count against the list, so that the same audit gives
the same list.

Read as one line: going down the list, (1 + nulls judged so far) · m / (n + 1) estimates how many
mistakes it holds by then, and the list ends where their share was at most q for the last time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Of the list, what "its end" means: a fifth is what a person still looks through.
TAIL = 0.2
# Standard errors by which answers that are still needed allow for bad luck: 4 times in 5 they
# suffice then.
LUCK = 0.84
TRUST = 5  # answers that a model's probability is worth where answers are planned


class Share(NamedTuple):
    """A share with its interval: `counted` out of `of`."""

    value: float
    low: float
    high: float
    counted: int
    of: int


@dataclass(frozen=True)
class Selection:
    """A list, or why there is none.

    Attributes:
        rows: [k] rows of the population, nobody judged them; highest score first.
        expected: estimated share of mistakes in it, at most q; 0 where it is empty.
        tail: share of mistakes among the judged rows beside the last fifth of the list; None
            where none was judged there.
        needed: answers with which a list can be expected, where it is empty; None where no
            number of answers would help.
    """

    rows: np.ndarray
    expected: float
    tail: Share | None
    needed: int | None


def p_values(scores: np.ndarray, nulls: np.ndarray, n: int) -> np.ndarray:
    """Conformal p-values [m]; see the module's docstring.

    Args:
        scores: [m] of rows that nobody judged, the highest first.
        nulls: scores of the judged rows that are null, in any order.
        n: how many rows were judged, null or not.
    """
    # each null counts from the first row on that does not score higher: n look-ups, not m
    first = np.searchsorted(-scores, -nulls, side="left")
    above = np.cumsum(np.bincount(first, minlength=len(scores) + 1))[: len(scores)]
    return (1 + above) / (n + 1)


def benjamini_hochberg(p: np.ndarray, q: float) -> int:
    """How many of the smallest p-values are taken.

    Args:
        p: [m] in ascending order.

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 57 (1995).
    """
    # a hair more than q, so that 3/30 counts as a tenth in floating point, too
    below = p <= q * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12)
    passed = np.flatnonzero(below)
    return int(passed[-1]) + 1 if len(passed) else 0


def select(
    scores: np.ndarray,
    sample: np.ndarray,
    null: np.ndarray,
    q: float,
    expected: np.ndarray | None = None,
) -> Selection:
    """The longest list whose expected share of null rows is at most q.

    Args:
        scores: [N] of the population; higher ones are taken first.
        sample: [n] rows drawn from it with equal chances, without replacement.
        null: [n] bool, whether a judged row would be a mistake in the list.
        q: promised share of mistakes, chosen before the answers were given.
        expected: [N] model's probability that a row is a mistake; it only helps to say how many
            answers are needed where the list is empty.
    """
    open_rows = np.ones(len(scores), dtype=bool)
    open_rows[sample] = False
    rows = np.flatnonzero(open_rows)
    # stable: rows with equal scores keep their order
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    judged = scores[sample]
    p = p_values(scores[rows], judged[null], len(sample))
    taken = benjamini_hochberg(p, q) if len(rows) else 0
    if not taken:
        if expected is None:
            expected = np.full(len(scores), 0.5)  # a model that knows nothing
        by_rank = mistakes_by_rank(scores, judged, null, expected)
        needed = answers_needed(by_rank, q)
        return Selection(rows[:0], 0.0, None, needed)
    mistakes = float(p[taken - 1] * len(rows) / taken)
    tail = _tail(scores[rows[:taken]], judged, null)
    return Selection(rows[:taken], mistakes, tail, len(sample))


def _tail(listed: np.ndarray, judged: np.ndarray, null: np.ndarray) -> Share | None:
    """Mistakes among the judged rows that score like the last fifth of a list.

    A list is best at its top, so its promise says little about its end (arXiv 2601.02610).
    """
    first = listed[int((1 - TAIL) * len(listed))]
    beside = (judged >= listed[-1]) & (judged <= first)
    if not beside.any():
        return None
    return share(int(null[beside].sum()), int(beside.sum()))


def share(count: int, of: int, level: float = 0.95) -> Share:
    """A share with its exact binomial interval (Clopper and Pearson, Biometrika 26, 1934)."""
    # a quarter of a second that --help need not wait
    from scipy.special import betaincinv

    rest = (1 - level) / 2
    low = float(betaincinv(count, of - count + 1, rest)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - rest)) if count < of else 1.0
    return Share(count / of, low, high, count, of)


def mistakes_by_rank(
    scores: np.ndarray, judged: np.ndarray, null: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """[N] share of mistakes among the first k rows, k = 1 to N, as answers and model suggest.

    The model's mean counts as much as `TRUST` answers.

    Args:
        scores: [N].
        judged: [n] scores of the judged rows, `null` [n] whether they are mistakes.
        expected: [N] model's probability that a row is a mistake.
    """
    order = np.argsort(-scores, kind="stable")
    rank = np.arange(1, len(scores) + 1)
    model = np.cumsum(expected[order]) / rank
    best_first = np.argsort(-judged, kind="stable")
    mistakes = np.concatenate([[0], np.cumsum(null[best_first])])
    # how many of the judged rows are among the first k
    inside = np.searchsorted(-judged[best_first], -scores[order], side="right")
    found: np.ndarray = (mistakes[inside] + TRUST * model) / (inside + TRUST)
    return found


def answers_needed(mistakes: np.ndarray, q: float) -> int | None:
    """How many answers, drawn from the whole population, let a list be expected.

    A list of the first k of N rows needs (1 + c) / (n + 1) ≤ q k / N, where c, the judged
    mistakes in it, is about binomial with n and k f / N; f is their share among the first k.

    Args:
        mistakes: [N] share of mistakes among the first k rows, from a model or from answers.

    Returns:
        None where no list of these scores is good enough, however many are judged.
    """
    part = np.arange(1, len(mistakes) + 1) / len(mistakes)
    gain = (q - mistakes) * part
    useful = gain > 0
    if not useful.any():
        return None
    part = part[useful]
    chance = part * mistakes[useful]
    # n gain − LUCK √(n chance) ≥ 1 − q part: a quadratic in √n
    spread = LUCK * np.sqrt(chance)
    root = spread + np.sqrt(spread**2 + 4 * gain[useful] * (1 - q * part))
    needed = float(((root / (2 * gain[useful])) ** 2).min())
    # who judges everything needs no promise
    return int(np.ceil(needed)) if needed < len(mistakes) else None
