"""Progress of long work on stderr: a bar with the time left on a terminal, lines elsewhere."""

from __future__ import annotations

import codecs
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

# Only with the first bar: it is a third of what --help would take.
if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

# A log of an hour has 240 lines of progress.
SECONDS_BETWEEN_LINES = 15.0
BAR_WIDTH = 24  # columns, so that a bar with its numbers fits into 80
# Seconds that a rate is the mean of: batches of a large model take several.
RATE_OVER = 60
# How streams of a narrow encoding write what it lacks: ways that typewriters knew for signs of
# ours, and escapes for letters, so that two names never look alike and none is lost.
NARROW = "labelsieve"
TYPEWRITTEN = {
    "–": "-",
    "−": "-",
    "…": "...",
    "→": "->",
    "·": "-",
    "×": "x",
    "±": "+/-",
    "≤": "<=",
    "≥": ">=",
    "“": '"',
    "”": '"',
    "’": "'",
    "\u00a0": " ",
}
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """No progress at all from now on (or again)."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether progress is off."""
    return _quiet


def counted(number: int, noun: str, one: str = "", many: str = "") -> str:
    """A number with its noun, of those that take an s: "1 image", "1,200 images".

    Args:
        one, many: the words that follow, where they differ.
    """
    what, end = (noun, one) if number == 1 else (f"{noun}s", many)
    return f"{number:,} {what} {end}".rstrip()


def percent(share: float, digits: int = 1) -> str:
    """A share in words: "12.3 %"; what is nearly sure is not called certain.

    Terminal, pages, reports and notebooks say every share by this, so that they say the same;
    `percent` of assets/items.js is the same for what scripts draw.

    Args:
        share: in [0, 1].
        digits: behind the point: 1 of shares of many labels, 0 of how likely a single one is wrong.
    """
    # what would be rounded to 0 or to 100 %
    least = 0.5 * 10 ** -(digits + 2)
    if 1 - least <= share < 1:
        return f"over {100 - 10**-digits:.{digits}f} %"
    if 0 < share < least:
        return f"under {10**-digits:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def about(share: float, first: bool = False) -> str:
    """An estimated share: "about 12.3 %"; "under 0.1 %" is no such number.

    Args:
        first: whether a sentence begins with it.
    """
    words = percent(share)
    if not words.startswith(("over", "under")):
        words = f"about {words}"
    return words[0].upper() + words[1:] if first else words


def flagged(number: int) -> str:
    """How many labels are flagged: "1 is flagged", "1,200 are flagged"."""
    return f"{number:,} {'is' if number == 1 else 'are'} flagged"


def chance(share: float) -> str:
    """How likely a single label is wrong, or a class right: "12 %", "over 99 %"."""
    return percent(share, 0)


# least probability of something, and what is said of it wherever that probability is shown
LIKELY = (
    (0.95, "almost certainly"),
    (0.80, "very likely"),
    (0.50, "probably"),
    (0.20, "possibly"),
    (0.00, "hardly"),
)
# an error of less than even odds is doubted, and not yet denied
DOUBTED = 0.35


def how_likely(share: float) -> str:
    """A probability as an adverb: "probably" means at least one half.

    `howLikely` of assets/items.js is the same for what scripts draw.
    """
    return next(words for least, words in LIKELY if share >= least)


def how_wrong(share: float) -> str:
    """The probability that a label is wrong, in words."""
    if share >= 0.5:
        return f"{how_likely(share)} wrong"
    return "perhaps wrong" if share >= DOUBTED else f"{how_likely(1 - share)} right"


def wrong_in_full(share: float) -> str:
    """The same with its number: "probably right (28 % likely to be wrong)"."""
    # behind "right" a bare number would be read as the probability of that
    of = "" if share >= DOUBTED else " likely to be wrong"
    return f"{how_wrong(share)} ({chance(share)}{of})"


def between(low: float, high: float) -> str:
    """An interval of shares: "1.0 to 2.5 %"."""
    words = percent(low), percent(high)
    # one sign for both, where both are plain numbers
    plain_numbers = not any(word.startswith(("over", "under")) for word in words)
    return " to ".join((words[0][:-2] if plain_numbers else words[0], words[1]))


def note(line: str) -> None:
    """One line that a person should see while work goes on."""
    # a program without a console has no stderr
    if not _quiet and sys.stderr is not None:
        _print(plain(line))


def _print(line: str) -> None:
    """A line on stderr, above the bars if there are any."""
    line = _encodable(line)
    if not _screen.print(line):
        print(line, file=sys.stderr, flush=True)


def _encodable(text: str) -> str:
    """Text with escapes for what stderr has no bytes for.

    Python's own stderr does that itself; one that was put in its place may not.
    """
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return text.encode(encoding, NARROW).decode(encoding)


def _narrower(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks, as `codecs.register_error` wants it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_typewritten, lacking)), error.end


def _typewritten(character: str) -> str:
    escaped = character.encode("ascii", "backslashreplace").decode("ascii")
    return TYPEWRITTEN.get(character, escaped)


codecs.register_error(NARROW, _narrower)


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
    """Show progress of `what` while the block runs.

    Args:
        total: how much there is to do, where that is known.
        done: how much of it an earlier run has finished.
        unit: what is counted.
    """
    if _quiet or sys.stderr is None:
        yield _Silent()
    elif sys.stderr.isatty():
        with _screen.bar(what, total, done, unit) as shown:
            yield shown
    else:
        lines = _Lines(what, total, done, unit)
        yield lines
        lines.finish()


class _Silent:
    def advance(self, count: int, note: str = "") -> None:
        pass


def _rate_of(task: Task) -> str:
    speed = task.finished_speed or task.speed
    # nothing is known of it before the second batch
    return f"{speed:,.0f} {task.fields['unit']}/s" if speed else ""


class _Terminal:
    """One bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._note = ""

    def advance(self, count: int, note: str = "") -> None:
        self._note = note or self._note
        self._progress.update(self._task, advance=count, note=self._note)


class _Screen:
    """The live display of a terminal, of which there can be one: all bars share it."""

    def __init__(self) -> None:
        # a thread may compute what the work of another one waits for
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._bars = 0

    @contextmanager
    def bar(
        self, what: str, total: int | None, done: int, unit: str
    ) -> Iterator[_Terminal]:
        with self._lock:
            if self._progress is None:
                self._progress = _start()
            progress = self._progress
            self._bars += 1
        task = progress.add_task(what, total=total, completed=done, unit=unit, note="")
        try:
            yield _Terminal(progress, task)
        finally:
            with self._lock:
                self._bars -= 1
                if not self._bars:
                    # gives the cursor back, also when Control-C was pressed
                    progress.stop()
                    self._progress = None

    def print(self, line: str) -> bool:
        """Print a line above the bars; False where there are none."""
        progress = self._progress
        if progress is None:
            return False
        from rich.text import Text

        # as Text: names may hold what rich takes for markup
        progress.console.print(Text(line), soft_wrap=True)
        return True


_screen = _Screen()


def _start() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_rate_of(task), style="dim")

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
        speed_estimate_period=RATE_OVER,
    )
    progress.start()
    return progress


class _Lines:
    """For logs and pipes."""

    def __init__(self, what: str, total: int | None, done: int, unit: str) -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._start = time.monotonic()
        self._first = done
        self._done = done
        self._note = ""
        self._next = self._start + SECONDS_BETWEEN_LINES

    def advance(self, count: int, note: str = "") -> None:
        self._done += count
        self._note = note or self._note
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            _print(self._line())

    def finish(self) -> None:
        # of work that was not needed, or is counted elsewhere, there is nothing to tell
        if self._done:
            _print(self._line())

    def _line(self) -> str:
        # the very first picture may come within the clock's resolution
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._first) / seconds
        count = f"{self._done:,}"
        span = f"{seconds:.0f} s"
        if self._total:
            count += f" of {self._total:,}"
            if rate and self._done < self._total:
                span = f"{(self._total - self._done) / rate:.0f} s left"
        words = f"{self._what}: {count} {self._unit}, {rate:,.0f}/s, {span}"
        return f"{words} {self._note}".rstrip()
