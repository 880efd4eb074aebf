"""The pictures of docs/guide/guarantee.md, from handwritten digits with planted errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from bench_guarantee import ALPHA, CLEAN, REMAIN, Cell, Q, digits, of_labels, plant
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labelsieve.estimation.audits import shares, stop_rule
from labelsieve.estimation.audits.selection import p_values, select, share

# ids that do not change from run to run, and text that stays text
SAME_BYTES: Any = {"svg.hashsalt": "labelsieve", "svg.fonttype": "none"}
TRUTH = "#555555"
OURS = "#0072B2"
LIMIT = "#D55E00"
UNKNOWN = "true, unknown outside of this picture"
ANSWERS = 300
REPEATS = 1000


def draw(folder: Path) -> None:
    """Write all pictures."""
    arrays = digits()
    methods = of_labels("digits", arrays, plant(arrays["clean_label"]), False)
    cell = next(each for each in methods if each.method == "mean")
    rng = np.random.default_rng(11)
    sample = rng.choice(len(cell.wrong), ANSWERS, replace=False)
    pictures: dict[str, Callable[[Axes], None]] = {
        "list": lambda axes: along(axes, cell.p_wrong, ~cell.wrong, sample, Q),
        "clean": lambda axes: along(axes, -cell.p_wrong, cell.wrong, sample, CLEAN),
        "stop": lambda axes: review(axes, cell, sample),
        "repeats": lambda axes: repeats(axes, cell),
        "cost": lambda axes: cost(axes, cell),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in pictures.items():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        plot(axes)
        axes.legend(frameon=False, fontsize=8)
        with matplotlib.rc_context(SAME_BYTES):
            # a date would change the file from day to day
            path = folder / f"guarantee-{name}.svg"
            figure.savefig(path, metadata={"Date": None})


def along(
    axes: Axes, scores: np.ndarray, null: np.ndarray, sample: np.ndarray, q: float
) -> None:
    """Mistakes from the top of the list down to each rank: estimated, and true."""
    rest = np.setdiff1d(np.arange(len(scores)), sample)
    rest = rest[np.argsort(-scores[rest], kind="stable")]
    length = np.arange(1, len(rest) + 1)
    p = p_values(scores[rest], scores[sample][null[sample]], len(sample))
    listed = len(select(scores, sample, null[sample], q).rows)
    truth = np.cumsum(null[rest]) / length
    axes.plot(
        length,
        100 * p * len(rest) / length,
        color=OURS,
        label="estimated from the audit",
    )
    axes.plot(length, 100 * truth, color=TRUTH, label=UNKNOWN)
    axes.axhline(100 * q, color=LIMIT, linestyle="--", label="promised")
    axes.axvspan(
        0, listed, color=OURS, alpha=0.12, label=f"certified: {listed:,} labels"
    )
    axes.set(
        ylim=(0, 400 * q),
        xlim=(0, min(len(rest), max(2 * listed, 400))),
        xlabel="labels in the list, the surest first",
        ylabel="mistakes in the list, %",
    )


def review(axes: Axes, cell: Cell, sample: np.ndarray) -> None:
    """What remains while one reviews: the bound that is shown, and the truth."""
    size = len(cell.wrong)
    queue = stop_rule.review_order(cell.probs, cell.given)
    place = np.empty(size, dtype=np.int64)
    place[queue] = np.arange(size)
    judged = np.zeros(size, dtype=bool)
    judged[sample] = True
    hits = place[sample[cell.wrong[sample]]]
    may_remain = int(REMAIN * size)
    spare = stop_rule.spared(size, len(sample), may_remain, ALPHA)
    rank = stop_rule.rank_to_review(hits, spare, size)
    ranks = np.arange(0, size, 10)
    unseen = (cell.wrong & ~judged)[queue]
    truth = [unseen[r:].sum() / size for r in ranks]
    bound = []
    for r in ranks:
        beyond = int((hits >= r).sum())
        left = stop_rule.remaining(size, len(sample), beyond, ALPHA)
        bound.append(min(left, size - r) / size)
    axes.plot(
        ranks, 100 * np.array(bound), color=OURS, label="at most this many, 95 % sure"
    )
    axes.plot(
        ranks,
        100 * np.array(truth),
        color=TRUTH,
        label=UNKNOWN,
    )
    axes.axhline(
        100 * REMAIN, color=LIMIT, linestyle="--", label=f"target {REMAIN:.0%}"
    )
    axes.axvline(
        rank, color=OURS, linestyle=":", label=f"review to rank {rank:,}, then stop"
    )
    axes.set(
        xlabel="labels reviewed", ylabel="wrong labels that remain, %", xlim=(0, size)
    )


def repeats(axes: Axes, cell: Cell) -> None:
    """False alarms in the lists of many audits: single lists vary, their mean is promised."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(REPEATS):
        sample = rng.choice(len(cell.wrong), ANSWERS, replace=False)
        listed = select(cell.p_wrong, sample, ~cell.wrong[sample], Q).rows
        found.append(float((~cell.wrong[listed]).mean()) if len(listed) else 0.0)
    mean = float(np.mean(found))
    axes.hist(
        100 * np.array(found),
        bins=40,
        color=OURS,
        alpha=0.5,
        label=f"{REPEATS:,} audits",
    )
    axes.axvline(100 * mean, color=OURS, label=f"their mean: {100 * mean:.1f} %")
    axes.axvline(100 * Q, color=LIMIT, linestyle="--", label="promised for the mean")
    axes.set(xlabel="false alarms in the certified list, %", ylabel="audits")


def cost(axes: Axes, cell: Cell) -> None:
    """Width of the interval of the share of wrong labels against answers."""
    rng = np.random.default_rng(6)
    counts = (100, 150, 200, 300, 400)
    widths: dict[str, list[float]] = {
        "checked at random": [],
        "and the scores": [],
        "strata": [],
    }
    for answers in counts:
        each = [_widths(rng, cell, answers) for _ in range(60)]
        for name, values in zip(widths, np.mean(each, axis=0), strict=True):
            widths[name].append(50 * values)
    styles = zip(widths, (TRUTH, LIMIT, OURS), ("o", "s", "^"), strict=True)
    for name, colour, marker in styles:
        axes.plot(counts, widths[name], color=colour, marker=marker, label=name)
    axes.set(xlabel="answers", ylabel="± points, 95 %", ylim=(0, None))


def _widths(
    rng: np.random.Generator, cell: Cell, answers: int
) -> tuple[float, float, float]:
    sample = rng.choice(len(cell.wrong), answers, replace=False)
    plain = share(int(cell.wrong[sample].sum()), answers)
    scored = shares.estimate(cell.p_wrong, sample, cell.wrong[sample])
    stratum = shares.strata(cell.p_wrong, cell.given, answers)
    drawn = []
    for number, count in enumerate(shares.neyman(cell.p_wrong, stratum, answers)):
        drawn.append(
            rng.choice(np.flatnonzero(stratum == number), count, replace=False)
        )
    rows = np.concatenate(drawn)
    strata = shares.stratified(cell.p_wrong, stratum, rows, cell.wrong[rows])
    return plain.high - plain.low, scored.high - scored.low, strata.high - strata.low
