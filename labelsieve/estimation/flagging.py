"""Which labels are called wrong.

A ranking says which labels are suspicious, not how many are wrong. All methods decide that in
`choose`, by the first of these that there is:
1. the known rate: a share of wrong labels that the user gives (setting `noise_rate`);
2. the rule that was asked for: the largest expected F1 by the calibrated probabilities
   (`flags=posterior`, the default, the same for every method), or the method's own rule, for
   instance an answer other than the given label (`flags=own`);
3. the estimated rate (`flags=estimated`): the mean calibrated probability that a label is wrong.
With a rate r, the round(r n) most suspicious of n labels are flagged.

Shapes: n labels, k classes.
"""

from __future__ import annotations

import numpy as np

from labelsieve.errors import OptionError

# A list half of which is right in expectation still helps a person; a longer one hides the errors.
MOST = 2.0
# Where flags help at all, F1 is largest well above this: the best threshold is half of the largest
# F1 (Lipton et al.), .3 with 9 % wrong labels. Clean labels have none, so nearly none is flagged.
LEAST = 0.25
BY_F1 = "largest expected F1"  # the rule of `flag_by_f1`, as runs name it


def expected_f1_count(p_wrong: np.ndarray) -> int:
    """How many of the most suspicious labels to flag so that the expected F1 is largest.

    With the m largest p_wrong [n] flagged, expected F1 is 2 Σ_flagged p / (m + Σ_all p) (Lipton
    et al., ECML 2014).
    """
    ordered = np.sort(p_wrong)[::-1]
    hits = np.cumsum(ordered)
    flagged = np.arange(1, len(hits) + 1)
    f1 = 2 * hits / (flagged + ordered.sum()).clip(1e-12)
    # argmax takes the first: of equally good counts the fewest labels
    return int(f1.argmax()) + 1 if len(f1) and f1.max() > 0 else 0


def flag_by_f1(p_wrong: np.ndarray) -> np.ndarray:
    """[n] bool: the labels that make the expected F1 largest, if more suspicious than the average.

    Where nothing is known the largest expected F1 is that of flagging everything (Lipton et al.,
    ECML 2014, section 5); a probability that is only the share of wrong labels is no evidence
    against a label. And no more than `MOST` times as many as are expected to be wrong, none of them
    with less than `LEAST`: in clean data expected F1 is small everywhere, and flags for little.
    """
    if not len(p_wrong):
        return np.zeros(0, dtype=bool)
    most = round(MOST * float(p_wrong.sum()))
    flagged = _largest(p_wrong, min(expected_f1_count(p_wrong), most))
    # rounding leaves probabilities that are all the same a little above their mean
    return flagged & (p_wrong > p_wrong.mean() + 1e-9) & (p_wrong >= LEAST)


def flag_most(suspicion: np.ndarray, rate: float) -> np.ndarray:
    """[n] bool: the round(rate n) largest; of equal ones the first."""
    return _largest(suspicion, round(rate * len(suspicion)))


def at_most_expected(p_wrong: np.ndarray, flagged: np.ndarray) -> np.ndarray:
    """[n] bool: of the flagged ones the most suspicious, no more than are expected to be wrong.

    For labels about which next to nothing is known: a longer list would contradict that.
    """
    return flagged & _largest(p_wrong, round(float(p_wrong.sum())))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """[n] bool: the `count` largest; of equal ones the first."""
    chosen = np.zeros(len(values), dtype=bool)
    # negated, since a reversed stable order would put the last of equals first
    chosen[np.argsort(-values, kind="stable")[:count]] = True
    return chosen


def choose(
    suspicion: np.ndarray,
    *,
    known: float | None,
    own: np.ndarray | None,
    estimated: float | None,
) -> tuple[np.ndarray, str]:
    """Which labels are called wrong, and by which rule: see the module's docstring.

    Args:
        suspicion: [n] higher is more suspicious.
        known: the share of wrong labels, if the user knows it.
        own: [n] bool flags of the method's own rule, None where it has none or the user does
            not want it.
        estimated: the estimated share; needed where neither of the others is given.

    Raises:
        OptionError: the known rate is no share.
    """
    if known is not None:
        if not 0 <= known <= 1:
            raise OptionError(
                f"Setting noise_rate cannot be {known}.", "It is a share, from 0 to 1."
            )
        return flag_most(suspicion, known), "known rate"
    if own is not None:
        return own, "own rule"
    assert estimated is not None
    return flag_most(suspicion, estimated), "estimated rate"


def suggestions(
    probs: np.ndarray, labels: np.ndarray, flagged: np.ndarray
) -> np.ndarray:
    """[n] the most probable class of `probs` [n, k], for a flagged label the best other one."""
    suggested = probs.argmax(1)
    others = probs[flagged]
    # a flagged label must not be suggested again
    others[np.arange(len(others)), labels[flagged]] = -np.inf
    suggested[flagged] = others.argmax(1)
    return suggested
