"""How many labels of a run are wrong, said once: for the page, the report, terminal and notebook.

What people found is added to what is expected among the labels that nobody has checked. The sum is
a property of the data, so reviewing must not move it but by what it teaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelsieve.audits import guarantee
from labelsieve.audits.stopping import Left, left_of
from labelsieve.data.labels import SINGLE
from labelsieve.estimation.noise_rate import says_little
from labelsieve.progress import about, between, counted, flagged, percent
from labelsieve.runs import standing
from labelsieve.runs.decisions import NAME as DECISIONS
from labelsieve.runs.decisions import WRONG
from labelsieve.runs.run import NOUNS, Run

# With that many images an estimate is wide for want of knowledge, not for want of images.
FEW = 5_000


@dataclass(frozen=True)
class Headline:
    """How many of the scored labels are wrong.

    Attributes:
        labels: number of scored labels; `noun` is what they are called, `things` their items.
        decided: how many of them people judged, and `found` how many of those are wrong.
        left: wrong ones among all others; None where nobody can say.
        audited: `left` comes from a random sample that people judged.
        renamed: share of the labels that bear another class's name.
    """

    labels: int
    noun: str
    things: str
    decided: int
    found: int
    left: Left | None
    audited: bool = False
    renamed: float = 0.0

    @property
    def open(self) -> int:
        """Number of labels that nobody judged."""
        return self.labels - self.decided

    @property
    def total(self) -> Left | None:
        """Wrong labels, found or not."""
        if self.left is None:
            return None
        bounds = (self.left.about, self.left.low, self.left.high)
        return Left(*(self.found + bound for bound in bounds))

    @property
    def claim(self) -> str:
        """The sentence without its interval and its parts."""
        total, of = self.total, f"{self.labels:,} {self.noun}"
        if total is None:
            return self._cannot_say(of)
        share = total.about / max(self.labels, 1)
        # every label was judged: nothing is estimated
        if total.low == total.high:
            of = f"{total.about:,.0f} of {of} ({percent(share)})"
            return f"{of} are wrong, as people judged them"
        how = "wrong" if self.audited else "probably wrong"
        return f"{about(share, first=True)} of {of} are {how}"

    def _cannot_say(self, of: str) -> str:
        few = self.labels < FEW
        why = f"Too few {self.things}" if few else "The model knows too little"
        if not self.decided:
            return f"{why} to say how many of {of} are wrong"
        return (
            f"{self.found:,} of {self.decided:,} {self.noun} that people judged are wrong; how "
            f"many of the other {self.open:,} are cannot be said yet"
        )

    @property
    def sentence(self) -> str:
        """All of it, without a full stop."""
        return self.claim + self.details

    @property
    def details(self) -> str:
        """What follows the claim: its interval, and what is found already."""
        total = self.total
        if total is None or total.low == total.high:
            return ""
        n = max(self.labels, 1)
        words = between(total.low / n, total.high / n)
        if self.audited:
            words += " with 95 % confidence, by the audit"
        if self.renamed:
            words += f"; {percent(self.renamed)} bear another class's name"
        return f" ({words}){self._parts()}"

    def to_find(self, expected: float) -> str:
        """What is left to find, beside the progress of a review.

        Args:
            expected: what the scan expects of the same labels; it falls with every answer, so that
                a number that rises comes with a reason.
        """
        if self.left is None:
            return "how many more labels are wrong cannot be said before an audit"
        number = counted(round(self.left.about), "wrong label")
        words = f"about {number} to find"
        if self.decided:
            words = f"{self.found:,} found, about {number} left"
        if self.audited:
            low, high = self.left.low, self.left.high
            return f"{words} ({low:,.0f} to {high:,.0f} by the audit)"
        if round(self.left.about) > round(expected):
            words += (
                f" (people found more than the scan, which expected {expected:,.0f})"
            )
        return words

    def _parts(self) -> str:
        if not self.decided or self.left is None:
            return ""
        rest = (
            f"about {self.left.about:,.0f} of the {self.open:,} that nobody has checked"
        )
        return f": {self.found:,} that people found and {rest}"


def _of(record: dict[str, Any], **known: Any) -> Headline:
    kind = record.get("labels", SINGLE)
    # runs of earlier versions do not say what their items are
    things = f"{record.get('noun', 'image')}s"
    return Headline(record["scored"], NOUNS[kind], things, **known)


def of_scan(record: dict[str, Any], noise: dict[str, Any] | None = None) -> Headline:
    """As the scan alone tells.

    Args:
        record: of a finished run.
        noise: its `Run.noise`; None takes what the record says of it.
    """
    noise, labels = noise or record["noise_rate"], record["scored"]
    left = None
    if not says_little(noise["low"], noise["high"]):
        left = Left(*(noise[key] * labels for key in ("rate", "low", "high")))
    # runs of earlier versions do not have it
    renamed = noise.get("renamed", 0.0)
    return _of(record, decided=0, found=0, left=left, renamed=renamed)


def of_standing(opened: Run, sums: Sums, audited: Left | None = None) -> Headline:
    """With what people decided.

    Args:
        opened: a finished run, and `sums` of it as it stands.
        audited: what is left by a complete audit, which says more than the scan.
    """
    known = {"decided": sums.decided, "found": sums.found}
    record = opened.record
    scan = of_scan(record, opened.noise)
    if audited is not None:
        return _of(record, left=audited, audited=True, renamed=scan.renamed, **known)
    if sums.decided == scan.labels:
        return _of(record, left=Left(0.0, 0.0, 0.0), **known)
    if scan.left is None or not sums.decided:
        return _of(record, left=scan.left, renamed=scan.renamed, **known)
    return _of(record, left=_left(scan, sums), renamed=scan.renamed, **known)


@dataclass(frozen=True)
class Sums:
    """What is counted of a run as it stands.

    Attributes:
        decided: labels that people judged; `found` of them are wrong.
        expected: sum of the probabilities of an error over all others.
        scanned: the same sum over all labels, as the scan left them; `scanned_open` over those
            that nobody judged.
    """

    decided: int
    found: int
    expected: float
    scanned: float
    scanned_open: float

    @classmethod
    def of(cls, now: Any) -> Sums:
        """Of a `labelsieve.runs.standing.Standing`, or one of sets."""
        open_ = now.verdicts == None  # noqa: E711  (element by element)
        wrong = np.isin(now.verdicts[~open_].astype(str), WRONG)
        expected = float(np.asarray(now.p_wrong)[open_].sum())
        scanned = 1 - now.scanned.p_clean
        sums = (expected, float(scanned.sum()), float(scanned[open_].sum()))
        return cls(len(wrong), int(wrong.sum()), *sums)


def _left(scan: Headline, sums: Sums) -> Left:
    """What is left of the scan's estimate: its interval holds for all labels, judged or not."""
    assert scan.left is not None  # the caller looked
    rest = scan.labels - sums.decided
    # what an estimate knows beside single labels, as that names of classes changed places
    beside = (scan.left.about - sums.scanned) * rest / scan.labels
    expected = min(max(sums.expected + beside, 0.0), rest)
    low, high = (
        min(max(bound - sums.found, 0.0), rest)
        for bound in (scan.left.low, scan.left.high)
    )
    # answers may teach that the scan was wrong about its own interval
    return Left(expected, min(low, expected), max(high, expected))


def of_run(
    opened: Run, now: Any = None, promised: guarantee.Promised | None = None
) -> Headline:
    """Of a finished run, with all decisions and audits.

    Args:
        now, promised: the run as it stands and its audits, where they are known already.

    Raises:
        RunError: files of the run are damaged.
    """
    # nobody decided anything: what may be a million probabilities is not read
    if not (opened.folder / DECISIONS).exists():
        return of_scan(opened.record, opened.noise)
    now = standing.of_run(opened) if now is None else now
    promised = guarantee.of_run(opened) if promised is None else promised
    return of_standing(opened, Sums.of(now), _audited(promised, now))


def _audited(promised: guarantee.Promised, now: Any) -> Left | None:
    rate, audit = promised.rate, promised.serving("rate")
    if rate is None:
        return None
    wrong = np.isin(now.verdicts.astype(str), WRONG)
    judged = now.verdicts != None  # noqa: E711  (element by element)
    # one of an earlier version was drawn from all labels
    asked = np.ones(len(judged), dtype=bool) if audit is None else audit.population.open
    return left_of(rate, asked, judged, wrong)


def with_flags(opened: Run) -> str:
    """The sentence for a notebook: how many labels are wrong, and how many are flagged."""
    return f"{of_run(opened).sentence}; {flagged(opened.record['flagged'])}."
