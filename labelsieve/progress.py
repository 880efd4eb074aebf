"""Progress of long work on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SECONDS_BETWEEN_LINES = 15.0
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """No progress at all from now on (or again)."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether progress is off."""
    return _quiet


def note(line: str) -> None:
    """One line that a person should see while work goes on."""
    if not _quiet:
        print(plain(line), file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """Text as a terminal shows it harmlessly: what it would obey is written as an escape.

    Names and paths come with the data; an escape sequence in them could rewrite the screen, a
    line break forge a message, and a mark of direction make a name read as another one.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if is_shown(c) else _escape(c) for c in text)


def _escape(character: str) -> str:
    # bytes of file names that are not UTF-8 are shown as the bytes they are
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def is_shown(character: str) -> bool:
    """Whether a character is seen where it stands, and changes nothing around it."""
    # joiners shape letters of Persian and Hindi and emoji, and move nothing
    if character.isprintable() or character in "\u200c\u200d":
        return True
    # no-break and ideographic spaces: Python calls every space but one unprintable
    return unicodedata.category(character) == "Zs"


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, count: int, note: str = "") -> None: ...


@contextmanager
def bar(
    what: str, total: int | None, done: int = 0, unit: str = "images"
) -> Iterator[Bar]:
    """Show progress of `what` while the block runs; `done` of `total` were finished in an earlier run."""
    if _quiet:
        yield _Silent()
    elif sys.stderr.isatty():
        with _Terminal(what, total, done, unit) as shown:
            yield shown
    else:
        lines = _Lines(what, total, done, unit)
        yield lines
        lines.finish()


class _Silent:
    def advance(self, count: int, note: str = "") -> None:
        pass


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="dim"
        )


class _Terminal:
    def __init__(self, what: str, total: int | None, done: int, unit: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=Console(stderr=True),
            speed_estimate_period=60,
        )
        self._note = ""
        self._task = self._progress.add_task(
            what, total=total, completed=done, unit=unit, note=""
        )

    def __enter__(self) -> _Terminal:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, count: int, note: str = "") -> None:
        self._note = note or self._note
        self._progress.update(self._task, advance=count, note=self._note)


class _Lines:
    """For logs and pipes."""

    def __init__(self, what: str, total: int | None, done: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._start, self._first, self._done, self._note = (
            time.monotonic(),
            done,
            done,
            "",
        )
        self._next = self._start + SECONDS_BETWEEN_LINES

    def advance(self, count: int, note: str = "") -> None:
        self._done += count
        self._note = note or self._note
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            self._print()

    def finish(self) -> None:
        self._print()

    def _print(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._first) / seconds
        left = (
            f", {(self._total - self._done) / rate:.0f} s left"
            if self._total and rate and self._done < self._total
            else f", {seconds:.0f} s"
        )
        count = f"{self._done:,}" + (f" of {self._total:,}" if self._total else "")
        print(
            f"{self._what}: {count} {self._unit}, {rate:,.0f}/s{left} {self._note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )
