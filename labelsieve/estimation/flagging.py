"""Which labels are called wrong.

A ranking says which labels are suspicious, not how many are wrong. All methods decide that in `choose`, by the
first of these that there is:
1. the known rate: a share of wrong labels that the user gives (setting `noise_rate`);
2. the method's own rule, for instance another answer than the given label (setting `flags=own`);
3. the estimated rate (setting `flags=estimated`, and every method without a rule of its own): T of labelsieve.estimation.transition from class
   probabilities that do not know the label, then the mean posterior probability that a label is wrong.
With a rate r, the round(r n) most suspicious of n labels are flagged.
"""

from __future__ import annotations

import numpy as np

from labelsieve.errors import OptionError


def expected_f1_count(p_wrong: np.ndarray) -> int:
    """How many of the most suspicious labels to flag so that the expected F1 is largest.

    With the m largest p_wrong flagged, expected F1 is 2 Σ_flagged p / (m + Σ_all p) (Lipton et al., ECML 2014).
    """
    ordered = np.sort(p_wrong)[::-1]
    hits = np.cumsum(ordered)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + ordered.sum()).clip(1e-12)
    return int(f1.argmax()) + 1 if len(f1) and f1.max() > 0 else 0


def flag_by_f1(p_wrong: np.ndarray) -> np.ndarray:
    """[n] bool: the labels that make the expected F1 largest, and are more suspicious than the average label.

    Where nothing is known the largest expected F1 is that of flagging everything (Lipton et al., ECML 2014, section 5);
    a probability that is only the share of wrong labels is no evidence against a label.
    """
    flagged = np.zeros(len(p_wrong), dtype=bool)
    flagged[np.argsort(-p_wrong, kind="stable")[: expected_f1_count(p_wrong)]] = True
    return flagged & (p_wrong > p_wrong.mean() + 1e-9) if len(p_wrong) else flagged


def flag_most(suspicion: np.ndarray, rate: float) -> np.ndarray:
    """[n] bool: the round(rate n) largest; of equal ones the first."""
    flagged = np.zeros(len(suspicion), dtype=bool)
    flagged[np.argsort(-suspicion, kind="stable")[: round(rate * len(suspicion))]] = (
        True
    )
    return flagged


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
        own: [n] bool flags of the method's own rule, None where it has none or the user does not want it.
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


def spread(suspicion: np.ndarray, p_wrong: np.ndarray) -> np.ndarray:
    """Give a ranking the probabilities of another one: the j-th most suspicious gets the j-th largest of `p_wrong` [n].

    The order is that of `suspicion`, equal ones share the mean, and the expected number of wrong labels stays.
    """
    values, group, counts = np.unique(
        suspicion, return_inverse=True, return_counts=True
    )
    mean = np.add.reduceat(np.sort(p_wrong), np.cumsum(counts) - counts) / counts
    return mean[group] if len(values) else np.empty(0)


def suggestions(
    probs: np.ndarray, labels: np.ndarray, flagged: np.ndarray
) -> np.ndarray:
    """[n] the most probable class of `probs` [n, k]; for a flagged label the most probable other one."""
    found, others = probs.argmax(1), probs[flagged]
    others[np.arange(len(others)), labels[flagged]] = -np.inf
    found[flagged] = others.argmax(1)
    return found
