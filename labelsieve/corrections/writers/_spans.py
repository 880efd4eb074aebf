"""Where values stand in the text of JSON, so that one is replaced and no other byte changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SPACE = re.compile(
    r"[ \t\n\r]*"
)  # between the parts of an object (RFC 8259, section 2)
# Numbers are not looked at: the text may have more digits than a number keeps.
DECODER = json.JSONDecoder(parse_float=str, parse_int=str)


@dataclass(frozen=True, order=True)
class Edit:
    """A part of a text, and what stands there afterwards."""

    start: int
    end: int
    text: str


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text after edits, none of which overlap."""
    parts, position = [], 0
    # from the start, so that positions stay those of the old text
    for edit in sorted(edits):
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


def members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Names in the object at `start`, and where their values begin and end."""
    position = after_space(text, start + 1)
    while text[position] != "}":
        name, position = DECODER.raw_decode(text, position)
        # the next character is the colon
        begin = after_space(text, after_space(text, position) + 1)
        end = DECODER.raw_decode(text, begin)[1]
        yield name, begin, end
        position = after_space(text, end)
        if text[position] == ",":
            position = after_space(text, position + 1)


def elements(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Where the elements of the array at `start` begin and end."""
    position = after_space(text, start + 1)
    while text[position] != "]":
        end = DECODER.raw_decode(text, position)[1]
        yield position, end
        position = after_space(text, end)
        if text[position] == ",":
            position = after_space(text, position + 1)


def find(text: str, start: int, *path: str | int) -> tuple[int, int]:
    """Where the value begins and ends that names and numbers lead to, as in `json[a][0][b]`.

    Raises:
        LookupError: there is none, or an object on the way has two members of that name.
    """
    end = DECODER.raw_decode(text, start)[1]
    for part in path:
        # a number counts elements, a name is that of a member
        if isinstance(part, int):
            start, end = list(elements(text, start))[part]
            continue
        found = [span for name, *span in members(text, start) if name == part]
        # which of two would be meant depends on who reads it
        if len(found) != 1:
            raise LookupError(f"'{part}' stands {len(found)} times, not once")
        start, end = found[0]
    return start, end


def without(spans: Sequence[tuple[int, int]], gone: set[int]) -> Iterator[Edit]:
    """Edits that take elements out of an array, with the commas behind or before them."""
    kept = [number for number in range(len(spans)) if number not in gone]
    if not kept:
        if spans:
            yield Edit(spans[0][0], spans[-1][1], "")
        return
    for number in sorted(gone):
        if number < kept[-1]:
            yield Edit(spans[number][0], spans[number + 1][0], "")
    # those behind the last that stays go with the comma before them
    if kept[-1] + 1 < len(spans):
        yield Edit(spans[kept[-1]][1], spans[-1][1], "")


def start_of(text: str) -> int:
    """Where the value of a whole file begins."""
    return after_space(text, len(text) - len(text.removeprefix("\ufeff")))


def after_space(text: str, position: int) -> int:
    """The first character from `position` on that is not space."""
    space = SPACE.match(text, position)
    return space.end() if space else position
