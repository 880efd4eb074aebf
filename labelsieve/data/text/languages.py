"""Which script a text is in, and, of some languages in Latin script, which one."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence

# First code point of each block and the script of its letters, as Unicode's Blocks.txt has them;
# what lies between is rare.
BLOCKS = (
    (0x0041, "Latin script"),
    (0x0250, ""),  # phonetic signs
    (0x0370, "Greek script"),
    (0x0400, "Cyrillic script"),
    (0x0530, "Armenian script"),
    (0x0590, "Hebrew script"),
    (0x0600, "Arabic script"),
    (0x0780, ""),
    (0x0900, "Devanagari"),
    (0x0980, "another Indic script"),
    (0x0E00, "Thai script"),
    (0x0E80, ""),
    (0x10A0, "Georgian script"),
    (0x1100, "Hangul"),
    (0x1200, "Ethiopic script"),
    (0x1380, ""),
    (0x1E00, "Latin script"),
    (0x1F00, "Greek script"),
    (0x2000, ""),
    (0x3040, "Japanese script"),
    (0x3100, ""),
    (0x3400, "Chinese characters"),
    (0xA000, ""),
    (0xAC00, "Hangul"),
    (0xD7B0, ""),
    (0xFB1D, "Hebrew script"),
    (0xFB50, "Arabic script"),
    (0xFE00, ""),
    (0xFF21, "Latin script"),
    (0xFF66, "Japanese script"),
    (0xFFA0, ""),
    (0x20000, "Chinese characters"),
    (0x30000, ""),
)
STARTS = [start for start, _ in BLOCKS]
LETTERS = 400  # of a text that are looked at
FEWEST = 4  # letters that say something
# Words that stand in nearly every sentence of a language and hardly in those of the others.
WORDS = {
    "English": "the and of to is that was for with this are have from they which",
    "German": "der die das und ist nicht mit ein eine auf von den für auch sich",
    "French": "les des est une dans pour pas qui sur avec sont cette vous nous mais",
    "Spanish": "los las el una para por con del es como más pero esta muy su",
    "Italian": "il gli che di per non una sono con della anche questo nel ma più",
    "Portuguese": "os não uma para com que do da em mais mas foi são dos pelo",
    "Dutch": "het een van en niet dat met zijn voor ook maar aan deze naar wordt",
    "Swedish": "och att det som är på av för inte med den till har jag ett",
    "Polish": "nie się jest na że do jak ale był przez tym ich tego jego oraz",
    "Turkish": "ve bir bu için ile çok da de olarak daha gibi ama olan kadar sonra",
}
LANGUAGE_OF: dict[str, list[str]] = {}
for _language, _words in WORDS.items():
    for _word in _words.split():
        LANGUAGE_OF.setdefault(_word, []).append(_language)
# Such words that decide, and how many times those of the next language.
DECIDE = 4
CLEARLY = 2.5
LOOKED_AT = 200  # words of a text


def script_of(text: str) -> str | None:
    """The script of most letters of a text; None where it has hardly any."""
    counts: Counter[str] = Counter()
    for letter in text[: 4 * LETTERS]:
        if letter.isalpha():
            block = bisect.bisect_right(STARTS, ord(letter)) - 1
            counts[BLOCKS[block][1]] += 1
            if counts.total() >= LETTERS:
                break
    counts.pop("", None)
    # a text of Japanese is half Chinese characters
    if counts["Japanese script"]:
        counts["Japanese script"] += counts.pop("Chinese characters", 0)
    if counts.total() < FEWEST:
        return None
    return counts.most_common(1)[0][0]


def language_of(words: Sequence[str]) -> str | None:
    """The language of a text in Latin script, by its little words; None where they do not say."""
    counts: Counter[str] = Counter()
    for word in words[:LOOKED_AT]:
        for language in LANGUAGE_OF.get(word.casefold(), ()):
            counts[language] += 1
    (first, many), (_, next_many) = [*counts.most_common(2), ("", 0), ("", 0)][:2]
    if many < DECIDE or many < CLEARLY * next_many:
        return None
    return first
