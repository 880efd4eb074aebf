"""Each oddity is found where it was planted, and nowhere in ordinary texts."""

from __future__ import annotations

import pytest

from labelsieve.data.text import checks
from labelsieve.data.text.checks import Finding, leaked
from labelsieve.pipeline import demo

NOTES = demo.texts().slice(0, 300).to_pydict()
ROWS = [
    (f"row {n}", label, text)
    for n, (label, text) in enumerate(
        zip(NOTES["planted_label"], NOTES["text"], strict=True)
    )
]


def found(*more: tuple[str, str], most: int = 1000) -> dict[str, Finding]:
    """Findings by name, with the planted rows last."""
    planted = [(f"planted {n}", *one) for n, one in enumerate(more)]
    return {f.name: f for f in checks.check([*ROWS, *planted], most)}


def test_ordinary_texts_have_nothing_odd() -> None:
    # the notes are put together from few sentences, which is what boilerplate is
    assert set(found()) <= {"boilerplate"}


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("damaged", "A cafÃ© in Paris where the waiters are kind", "cafÃ©"),
        ("damaged", "It is the bankâ€™s money and not yours at all", "â€"),
        ("damaged", "Ein Stück \ufffdrger with a lost letter in it", "rger"),
        ("damaged", "ÐŸÑ€Ð¸Ð²ÐµÑ‚ means hello in a wrong encoding", "ÐŸ"),
        ("markup", "Shares rose &amp; fell on the day after <br> that", "&amp;"),
        ("markup", "The firm #39;s shares rose on Monday in New York", "#39;"),
        ("short", "ok", "ok"),
        ("long", "word " * 1001, "1,001 words"),
        ("script", "Это простое предложение о погоде", "Это"),
        ("language", "Der Hund ist nicht auf dem Tisch und mit der Katze", "Der"),
        ("leak", "[money] The bank raised its rates again", "[money]"),
        ("leak", "The bank raised its rates. category: money", "category"),
        ("leak", "__label__money the bank raised its rates", "__label__money"),
        ("leak", "The bank raised its rates #money", "#money"),
    ],
)
def test_a_planted_oddity_is_found_with_its_row(
    name: str, text: str, shown: str
) -> None:
    finding = found((("money"), text))[name]
    assert finding.count == 1
    (example,) = finding.examples
    assert example["path"] == "planted 0" and shown in example["reason"]


@pytest.mark.parametrize(
    "text",
    [
        "He put his money into the bank and lost most of it",
        "Money: it is what the bank lends",
        "café, naïve, Straße, Ångström, Çelik, Ñandú — “quoted” … 5 €",
        "x < y and y > z; AT&T; R&D; #1 in sports; a <b c",
        "Dr. Müller und Söhne",
    ],
)
def test_ordinary_sentences_are_left_alone(text: str) -> None:
    odd = found(("football", text))
    assert set(odd) <= {"boilerplate"}, odd


def test_a_label_within_a_sentence_is_no_leak() -> None:
    assert leaked("The sports news of today", "sports") is None
    assert leaked("science and technology: chips", "science_and_technology")
    assert leaked("topic: C++", "C") is None and leaked("tag=news", "news")
    assert leaked("anything", "  ") is None


def test_the_same_words_with_another_label() -> None:
    twins = found(
        ("money", "Hello, World of news!"), ("cooking", "hello world  OF news")
    )
    assert twins["twins"].count == 1
    assert twins["twins"].examples[0]["reason"] == "'planted 0' is labelled 'money'"


def test_sentences_of_many_texts() -> None:
    footer = "Read more about this story on our website today."
    planted = [
        ("money", f"A text with the number {n} in it. {footer}") for n in range(12)
    ]
    rows = [(f"r{n}", *one) for n, one in enumerate(planted)]
    rows += [
        (f"s{n}", "money", f"Quite another thought {'x' * n} here") for n in range(50)
    ]
    (finding,) = [f for f in checks.check(rows, 1000) if f.name == "boilerplate"]
    assert finding.count == 12
    assert (
        footer in finding.examples[0]["reason"]
        or "12 times" in finding.examples[0]["reason"]
    )
    # the same text again and again is a repetition, and no boilerplate
    same = [(f"r{n}", "money", f"Only one text. {footer}") for n in range(40)]
    assert not [f for f in checks.check(same, 1000) if f.name == "boilerplate"]


def test_where_languages_are_mixed_none_is_wrong() -> None:
    rows = [
        (f"r{n}", "a", "Это простое предложение о погоде" + "!" * n) for n in range(40)
    ]
    rows += [(f"s{n}", "a", f"This is a plain sentence, number {n}") for n in range(40)]
    assert "script" not in {f.name for f in checks.check(rows, 1000)}


def test_reasons_cannot_command_a_terminal() -> None:
    finding = found(("money", "\x1b[31m \x07 &amp; \u202e evil " + "x" * 500))["markup"]
    reason = finding.examples[0]["reason"]
    assert "\x1b" not in reason and "\u202e" not in reason and len(reason) <= 200


def test_a_megabyte_takes_no_longer_than_its_beginning() -> None:
    long = found(("money", "word " * 300_000))["long"]
    assert long.examples[0]["reason"] == "300,000 words"
    assert len(checks.spaced(1_000_000)) <= checks.LOOKED_AT
    assert list(checks.spaced(5)) == [0, 1, 2, 3, 4]
