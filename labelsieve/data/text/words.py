"""Words of a text that speak for its label, and for another one: counted, whatever model judged.

A word speaks for a class as far as it stands in more of its texts than in those of the other:
log P(word | one) - log P(word | other), with half a text more of each kind. It says why a person
may believe a suggestion; no method reads it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SHOWN = 6  # words of either kind
FEWEST = 5  # texts that a word stands in, else it says little
CLEARLY = math.log(3)  # how much more often it must stand in those of one class
LETTERS = re.compile(r"[^\W\d_]{2,40}")
LONGEST = 20_000  # characters that are looked at


@dataclass(frozen=True)
class Spoken:
    """Words that speak for the label of a text, and against it, the clearest first."""

    speaks_for: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)


def words_of(text: str) -> frozenset[str]:
    """The different words of a text, without case; numbers are none."""
    return frozenset(word.casefold() for word in LETTERS.findall(text[:LONGEST]))


class Counts:
    """In how many texts of each class words stand.

    Args:
        wanted: words that are counted; all others are passed over.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self.wanted = frozenset(wanted)
        self.texts: Counter[str] = Counter()
        self.words: dict[str, Counter[str]] = {}

    def add(self, text: str, label: str) -> None:
        """Count a text under a class."""
        self.texts[label] += 1
        own = self.words.setdefault(label, Counter())
        own.update(words_of(text) & self.wanted)

    def speak(self, text: str, given: str, other: str, counted: str) -> Spoken:
        """What the words of a text say of two classes.

        Args:
            counted: the class that this text was counted under: it says nothing of itself.
        """
        weights = {}
        for word in words_of(text) & self.wanted:
            seen = {k: self.words.get(k, Counter())[word] for k in (given, other)}
            texts = {k: self.texts[k] for k in (given, other)}
            if counted in seen:
                seen[counted] -= 1
                texts[counted] -= 1
            if sum(seen.values()) >= FEWEST:
                shares = [(seen[k] + 0.5) / (texts[k] + 1) for k in (given, other)]
                weights[word] = math.log(shares[0] / shares[1])
        return _clearest(weights)


def _clearest(weights: Mapping[str, float]) -> Spoken:
    # the same order whatever order a set had
    order = sorted(weights, key=lambda word: (-abs(weights[word]), word))
    speaks_for = [w for w in order if weights[w] > CLEARLY]
    against = [w for w in order if weights[w] < -CLEARLY]
    return Spoken(speaks_for[:SHOWN], against[:SHOWN])
