"""Which words speak for a class, counted by hand."""

from __future__ import annotations

import math

from labelsieve.data.text.words import CLEARLY, FEWEST, Counts, words_of

NEWS = [("the match was won by a goal", "sports")] * 9 + [
    ("the bank raised its rates", "money")
] * 8


def test_words_are_counted_once_a_text() -> None:
    assert words_of("The the THE match, 1999 c3po x!") == {"the", "match", "po"}
    assert words_of("שלום עולם") == {"שלום", "עולם"}


def test_words_speak_for_the_class_that_they_stand_in() -> None:
    text = "the bank lost the match by a goal"
    counts = Counts(words_of(text))
    for one, label in [*NEWS, (text, "sports")]:
        counts.add(one, label)
    spoken = counts.speak(text, "money", "sports", "sports")
    assert spoken.speaks_for == ["bank"]
    assert set(spoken.against) == {"match", "goal", "by", "lost"} - {"lost"}
    # by hand: 9 of 9 texts of sports, itself left out, and 0 of 8 of money
    weight = math.log(0.5 / 9) - math.log(9.5 / 10)
    assert weight < -CLEARLY
    # a word that stands in both, and one in hardly any, say nothing
    assert "the" not in spoken.against and "lost" not in spoken.against
    assert FEWEST > 1


def test_a_text_says_nothing_of_itself() -> None:
    text = "only here are these words"
    counts = Counts(words_of(text))
    for _ in range(9):
        counts.add("quite another thought", "b")
    for _ in range(FEWEST - 1):
        counts.add("only here", "a")
    counts.add(text, "a")
    assert counts.speak(text, "b", "a", "a").against == []
    counts.add("only here", "a")
    assert set(counts.speak(text, "b", "a", "a").against) == {"only", "here"}
