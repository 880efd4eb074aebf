"""What is odd about texts, before anything is computed: one pass, a finding for each kind.

Looked for are damaged encodings, leftovers of HTML, another script or language than most, more
words than the model reads, hardly any words, sentences that many texts share, the same words with
another label, and the label itself, set off in the text.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from labelsieve.data.text.languages import language_of, script_of
from labelsieve.progress import plain

EXAMPLES = 20  # of each finding
LONGEST = 200  # characters of a reason
# Texts that are looked at, evenly spaced: a minute, and a bounded memory for shared sentences.
LOOKED_AT = 100_000
FIRST = 20_000  # characters of a text that are looked at
FEW = 3  # words
# A sentence is boilerplate from so many texts on, and from such a share of them.
SHARED = 10
SHARE = 0.01
SENTENCE = 5  # words that it has at least
# Most texts, where one script or language is called that of the data.
MOST = 0.8
# Letters of UTF-8 that were read as Windows-1252 (é becomes Ã©), and what replaces lost ones.
# What Windows-1252 makes of the bytes 80 to 9F, and of those up to BF.
SIGNS = "\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
HIGH = f"[\u0080-\u00bf{SIGNS}]"
DAMAGED = re.compile(
    "\ufffd|[\x80-\x9f]"
    f"|[\u00c2\u00c3\u00c5]{HIGH}"
    "|\u00e2\u20ac|\u00ef\u00bb\u00bf"
    # two bytes for each letter of Cyrillic: two letters, as one may stand alone
    f"|(?:[\u00d0\u00d1]{HIGH}){{2}}"
)
MARKUP = re.compile(
    r"</?(?:p|br|div|span|a|b|i|li|ul|td|tr|table|img|font)\b[^<>]{0,200}>"
    r"|&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,5}|#x[0-9a-f]{2,5});|(?<![&\w])#\d{2,3};",
    re.IGNORECASE,
)
WORD = re.compile(r"\w+")
ENDS = re.compile(r"(?<=[.!?])\s+|\n+")  # where a sentence ends


@dataclass
class Finding:
    """One kind of oddity.

    Attributes:
        name: for JSON. what: as a person reads it, such as "Leftovers of HTML".
        count: of texts.
        examples: path and reason of the first `EXAMPLES`.
    """

    name: str
    what: str
    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        """Count a text."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            # shown in terminals and pages, which would obey what a text holds
            self.examples.append({"path": path, "reason": plain(reason)[:LONGEST]})


@dataclass(frozen=True)
class Text:
    """A text with the row it is in."""

    path: str
    label: str | None
    text: str
    words: list[str]


def check(rows: Iterable[tuple[str, str | None, str]], most: int) -> list[Finding]:
    """Findings with at least one text, in a fixed order.

    Args:
        rows: path, label and text of each row.
        most: words that the model reads of a text at most.
    """
    looks: list[Any] = [_Each(most), _Alike(), _Foreign(), _Boilerplate()]
    for path, label, whole in rows:
        text = Text(path, label, whole[:FIRST], WORD.findall(whole[:FIRST]))
        for look in looks:
            look.see(text, len(whole))
    found = [finding for look in looks for finding in look.found()]
    return [finding for finding in found if finding.count]


# --- what a text tells alone


class _Each:
    """Damage, markup, lengths, labels in the text."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.damage = Finding("damaged", "Letters that were read in a wrong encoding")
        self.markup = Finding("markup", "Leftovers of HTML")
        self.long = Finding("long", f"More words than the model reads (about {most:,})")
        self.short = Finding("short", f"Fewer than {FEW} words")
        self.leak = Finding("leak", "The label itself, set off from the text")

    def see(self, text: Text, length: int) -> None:
        damaged = DAMAGED.search(text.text)
        if damaged:
            self.damage.add(text.path, _around(text.text, damaged))
        left = MARKUP.search(text.text)
        if left:
            self.markup.add(text.path, _around(text.text, left))
        # beyond what is looked at, by the share of words before
        words = round(len(text.words) * length / max(1, len(text.text)))
        if words > self.most:
            self.long.add(text.path, f"{words:,} words")
        # a letter of a script without spaces is a word
        if len(text.words) < FEW and len("".join(text.words)) < 4 * FEW:
            self.short.add(text.path, text.text.strip())
        named = leaked(text.text, text.label) if text.label else None
        if named:
            self.leak.add(text.path, named)

    def found(self) -> Iterator[Finding]:
        yield from (self.damage, self.markup, self.short, self.long, self.leak)


def leaked(text: str, label: str) -> str | None:
    """Where a text names its label as data do and sentences do not; None where it does not.

    Begun or ended with it and a sign ("[sports] …", "… #sports", "sports: …"), behind a word for it
    ("category=sports"), or as fastText has it ("__label__sports").
    """
    spoken = (
        re.escape(label.strip()).replace(r"\ ", r"[\s_-]+").replace("_", r"[\s_-]+")
    )
    if not spoken:
        return None
    patterns = (
        rf"^\W*{spoken}\s*[:|\]\)>\t]",
        rf"[\[(<|#]\s*{spoken}\W*$",
        rf"\b(?:label|class|category|topic|section|tag)s?\s*[:=]\s*\W?{spoken}(?![\w+#])",
        rf"__label__{spoken}(?![\w+#])",
    )
    for pattern in patterns:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return _around(text, match)
    return None


def _around(text: str, match: re.Match[str]) -> str:
    """Where it was found, with a few letters on both sides."""
    start = max(0, match.start() - 20)
    return text[start : match.end() + 20].strip()


# --- what several texts tell together


class _Alike:
    """The same words under another label: they differ in case, spaces and signs alone."""

    def __init__(self) -> None:
        self.first: dict[int, tuple[str, str, int]] = {}
        self.twins = Finding(
            "twins",
            "The same words with another label (but for case, spaces and signs)",
        )

    def see(self, text: Text, length: int) -> None:
        if not text.words or text.label is None:
            return
        # Python's own hash, of 64 bits: among a million texts none of 32 would be unique
        key = hash(" ".join(text.words).casefold())
        own = hash(text.text)
        path, label, whole = self.first.setdefault(key, (text.path, text.label, own))
        # the very same text with another label is a conflict, which is told of as such
        if label != text.label and whole != own:
            self.twins.add(text.path, f"'{path}' is labelled '{label}'")

    def found(self) -> Iterator[Finding]:
        yield self.twins


class _Foreign:
    """Another script, or another language, than most texts have."""

    def __init__(self) -> None:
        self.scripts: dict[str, Finding] = {}
        self.languages: dict[str, Finding] = {}
        self.seen: Counter[str] = Counter()
        self.known: Counter[str] = Counter()

    def see(self, text: Text, length: int) -> None:
        script = script_of(text.text)
        if script is None:
            return
        self.seen[script] += 1
        start = text.text.strip()[:80]
        self._of(self.scripts, "script", script).add(text.path, start)
        language = language_of(text.words)
        if language is not None:
            self.known[language] += 1
            self._of(self.languages, "language", language).add(text.path, start)

    def _of(self, kept: dict[str, Finding], name: str, value: str) -> Finding:
        return kept.setdefault(value, Finding(name, f"In {value}"))

    def found(self) -> Iterator[Finding]:
        for counts, kept in ((self.seen, self.scripts), (self.known, self.languages)):
            usual = [v for v, n in counts.items() if n >= MOST * counts.total()]
            for value in sorted(kept):
                # where texts of several languages are mixed, none is a wrong one
                if usual and value != usual[0]:
                    finding = kept[value]
                    finding.what += f", where most are in {usual[0]}"
                    yield finding


class _Boilerplate:
    """Sentences that many texts share; texts that occur again are told of as such."""

    def __init__(self) -> None:
        # a number for each text that holds it: a few bytes, whatever the sentence
        self.texts: dict[int, array[int]] = {}
        self.first: dict[int, tuple[str, str]] = {}
        self.whole: set[int] = set()

    def see(self, text: Text, length: int) -> None:
        number = len(self.whole)
        self.whole.add(hash(text.text))
        if len(self.whole) == number:
            return
        for key, sentence in dict(_sentences(text.text)).items():
            self.texts.setdefault(key, array("I")).append(number)
            self.first.setdefault(key, (text.path, sentence))

    def found(self) -> Iterator[Finding]:
        finding = Finding("boilerplate", "Sentences that many share")
        least = max(SHARED, SHARE * len(self.whole))
        shared = {k: rows for k, rows in self.texts.items() if len(rows) >= least}
        # the most frequent sentence first, a row that holds it as its example
        for key in sorted(shared, key=lambda key: -len(shared[key])):
            path, sentence = self.first[key]
            finding.add(path, f"{len(shared[key]):,} times: {sentence}")
        # a text may hold several of them
        finding.count = len({row for rows in shared.values() for row in rows})
        yield finding


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """Sentences of some length, by a number that case and digits do not change."""
    for sentence in ENDS.split(text):
        words = [w for w in WORD.findall(sentence) if not w.isdigit()]
        if len(words) >= SENTENCE:
            plain = unicodedata.normalize("NFKC", " ".join(words)).casefold()
            yield zlib.crc32(plain.encode("utf-8", "replace")), sentence.strip()


def spaced(count: int, most: int = LOOKED_AT) -> range:
    """At most so many numbers below `count`, evenly spaced."""
    return range(0, count, max(1, -(-count // most)))
