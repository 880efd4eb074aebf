"""When a review may stop: at most so many wrong labels remain, with a chosen confidence.

N labels have an order of review that was fixed beforehand; n of them were drawn with equal chances
and judged, whatever their place. People review from the start. If they stop after rank r, then K
wrong labels lie beyond r, x of which were judged; so K − x remain. How many of K wrong labels a
sample of n out of N hits is hypergeometric, hence few hits mean few wrong labels:

    rank:   of the judged wrong labels at most c may lie beyond r, where c is the largest number
            with P(Hypergeometric(N, a + c + 1, n) ≤ c) ≤ α and a is how many wrong labels may
            remain. The rank to review is that of the (c + 1)-th judged wrong label from the end,
            so that it is known when the audit is done.

It fails with probability at most α (Clopper and Pearson's argument for a finite population, as in
PAC labels, arXiv 2506.10908): more than a remain only if, of the last a + c + 1 wrong labels in the
order, which does not depend on the sample, at most c were judged. No assumption on the order, the
model or the labels is made; a useless order just gives a high rank. Inside the first r any order
will do.

    running: for those who stop when they like: with x judged wrong labels beyond the present rank,
            at most U(x) − x remain, where
            P(Hypergeometric(N, U + 1, n) ≤ x) ≤ α / ((x + 1)(x + 2)).

These bounds hold for all ranks at once: the terms add up to α over x = 0, 1, 2, …

The order is that of expected gain, Φ = CE(l, p) − H(p) (Bernhardt et al., "Active label cleaning",
Nature Communications 13, 2022): with the given label as the only vote, −log p(given) − H(p), over
log k. What the model finds ambiguous comes later than what it contradicts plainly. Φ was made for
a budget; where it is not above 0 it puts the ambiguous behind everything, where many of the last
wrong labels are. There the probability of an error decides. On human errors (CIFAR-10N,
random_label1, rows 0 to 7,999) that halves the rank of a review for 1 %, and leaves the first
thousand as Φ has them.
"""

from __future__ import annotations

import numpy as np

# Φ is computed in single precision by several libraries: what differs by less is a tie
SAME = 1e-6


def chance_of_few(population: int, wrong: int, answers: int, hits: int) -> float:
    """P(Hypergeometric ≤ hits): a sample of `answers` of `population` hits few of `wrong`."""
    # a quarter of a second that --help need not wait
    from scipy.special import gammaln

    def log_choose(n: float, k: np.ndarray) -> np.ndarray:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    # fewer hits than the rest of the population leaves room for are impossible
    least = max(0, answers - (population - wrong))
    x = np.arange(least, min(hits, wrong, answers) + 1, dtype=float)
    if not len(x):
        return 0.0
    log_p = log_choose(wrong, x) + log_choose(population - wrong, answers - x)
    log_p = log_p - log_choose(population, np.array([answers], dtype=float))
    return min(1.0, float(np.exp(log_p).sum()))


def most_wrong(population: int, answers: int, hits: int, alpha: float) -> int:
    """Upper bound of the wrong labels in a population of which a sample hit `hits`.

    It is exceeded with probability at most alpha.
    """
    low, high = hits, population - answers + hits
    # the chance falls with the number of wrong labels: bisection
    while low < high:
        middle = (low + high + 1) // 2
        if chance_of_few(population, middle, answers, hits) > alpha:
            low = middle
        else:
            high = middle - 1
    return low


def spared(population: int, answers: int, may_remain: int, alpha: float) -> int:
    """How many judged wrong labels may lie beyond the end of a review; −1: the audit is too small.

    Args:
        may_remain: wrong labels that may remain unseen.
    """
    spare = -1
    while spare < answers:
        last = may_remain + spare + 2  # of so many last wrong labels
        # fewer than that cannot remain: nothing to show
        if last > population:
            return answers
        if chance_of_few(population, last, answers, spare + 1) > alpha:
            break
        spare += 1
    return spare


def rank_to_review(hits: np.ndarray, spare: int, population: int) -> int:
    """Rank after which a review may stop.

    Args:
        hits: places in the order, from 0, of the judged labels that are wrong.
        spare: of `spared`.
    """
    if spare < 0:
        return population
    if len(hits) <= spare:
        return 0
    # everything up to and with the last one that is not spared
    return int(np.sort(hits)[len(hits) - spare - 1]) + 1


def remaining(population: int, answers: int, beyond: int, alpha: float) -> int:
    """Most wrong labels that remain where `beyond` judged ones lie beyond the present rank.

    Holds for all ranks at once with probability 1 − alpha.
    """
    spent = alpha / ((beyond + 1) * (beyond + 2))
    return most_wrong(population, answers, beyond, spent) - beyond


def answers_needed(population: int, may_remain: int, alpha: float) -> int:
    """Least answers with which a review that finds nearly everything may ever stop early."""
    low, high = 1, population
    while low < high:
        middle = (low + high) // 2
        if chance_of_few(population, may_remain + 1, middle, 0) <= alpha:
            high = middle
        else:
            low = middle + 1
    return low


def gain(probs: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[n] Φ, expected gain of a look at each label; see the module's docstring.

    Args:
        probs: [n, k] class probabilities, rows sum to one.
        given: [n] the label's column.
    """
    # a probability of 0 is the model's rounding, not certainty
    log_p = np.log(np.clip(probs, 1e-12, 1.0))
    entropy = -(probs * log_p).sum(1)
    scale = np.log(max(2, probs.shape[1]))
    phi: np.ndarray = (-log_p[np.arange(len(given)), given] - entropy) / scale
    return phi


def review_order(probs: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[n] rows in the order of review; see the module's docstring. Arguments as `gain`.

    Ties go by cost, the cheapest first: a right label costs one answer, a wrong one two, as it
    is named as well.
    """
    phi = np.round(gain(probs, given) / SAME)
    p_wrong = 1 - probs[np.arange(len(given)), given]
    contradicted = phi > 0
    worth = np.where(contradicted, phi, np.round(p_wrong / SAME))
    return np.lexsort((1 + p_wrong, -worth, ~contradicted))
