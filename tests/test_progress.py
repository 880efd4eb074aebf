"""Progress on stderr: lines for logs, a bar for terminals, nothing when quiet; standard output
stays clean."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import pytest

from labelsieve import progress
from labelsieve.progress import plain


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    progress.be_quiet(False)
    yield clock
    progress.be_quiet(True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_tell_count_rate_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar("Scoring", 4000, done=1000) as shown:
        clock.now += 14
        shown.advance(500)
        assert capsys.readouterr().err == ""  # too early
        clock.now += 6
        shown.advance(500, "epoch 1")
        # 1,000 pictures in 20 s; 2,000 are left at 50 a second
        assert (
            capsys.readouterr().err
            == "Scoring: 2,000 of 4,000 images, 50/s, 40 s left epoch 1\n"
        )
        clock.now += 20
        shown.advance(2000)
        assert (
            capsys.readouterr().err
            == "Scoring: 4,000 of 4,000 images, 75/s, 40 s epoch 1\n"
        )
    captured = capsys.readouterr()
    assert (
        captured.err.startswith("Scoring: 4,000 of 4,000 images") and captured.out == ""
    )


def test_lines_without_a_total_and_in_other_units(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar("Reading", None, unit="rows") as shown:
        clock.now += 2
        shown.advance(10)
    assert capsys.readouterr().err == "Reading: 10 rows, 5/s, 2 s\n"


def test_quiet_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress.be_quiet(True)
    assert progress.is_quiet()
    with progress.bar("Scoring", 10) as shown:
        clock.now += 100
        shown.advance(10)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_a_terminal_gets_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    with progress.bar("Scoring", 40) as shown:
        shown.advance(40, "loss 0.5")
    for words in ("Scoring", "40/40", "loss 0.5"):
        assert words in screen.getvalue()


def test_an_error_passes_and_the_terminal_is_given_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(KeyboardInterrupt), progress.bar("Scoring", 40):
        raise KeyboardInterrupt
    hidden, visible = (
        screen.getvalue().rfind("\x1b[?25l"),
        screen.getvalue().rfind("\x1b[?25h"),
    )
    assert visible > hidden >= 0  # the cursor is there again


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Käse 猫 👩\u200d🔬 a\u00a0b", "Käse 猫 👩\u200d🔬 a\u00a0b"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\nerror: b\r\t", "a\\nerror: b\\r\\t"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("\x9b31m\u2028\u2066", "\\x9b31m\\u2028\\u2066"),
        ("na\udcefve", "na\\xefve"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_note_stands_above_the_bar(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "60")
    # names may hold what rich takes for markup, and be longer than a line
    line = "'[red]a.npy' in the cache is damaged" + " and computed anew" * 3
    with progress.bar("Scoring", 40) as shown:
        shown.advance(20)
        progress.note(line)
        shown.advance(20)
    rows = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert line in [row.strip() for row in re.split("[\r\n]", rows)]


def test_bars_of_two_threads_share_the_screen(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    with progress.bar("Training", 40) as outer:
        with progress.bar("Reading", 10) as inner:
            inner.advance(10)
        outer.advance(40)
    assert "10/10" in screen.getvalue() and "40/40" in screen.getvalue()
    shown, hidden = (screen.getvalue().count(f"\x1b[?25{x}") for x in "hl")
    assert shown == hidden == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_stream_without_our_characters_gets_escapes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding, errors="strict")
    monkeypatch.setattr(sys, "stderr", narrow)
    progress.note("'猫' is damaged")
    with progress.bar("Scoring", 4) as shown:
        shown.advance(4, "µ猫")
    text = raw.getvalue().decode(encoding)
    assert text.startswith("'\\u732b' is damaged") and "\\u732b\n" in text


def test_without_stderr_nothing_is_shown(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    progress.note("a line")
    with progress.bar("Scoring", 4) as shown:
        shown.advance(4)
    assert capsys.readouterr().out == ""


def test_work_that_was_not_needed_leaves_no_line(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar("Training prompts", 4000):
        clock.now += 1
    assert capsys.readouterr().err == ""


def test_nearly_sure_is_not_called_certain() -> None:
    said = {
        0.0: "0.0 %",
        0.0004: "under 0.1 %",
        0.0006: "0.1 %",
        0.5: "50.0 %",
        0.9994: "99.9 %",
        0.99951: "over 99.9 %",
        0.9999999: "over 99.9 %",
        1.0: "100.0 %",
    }
    assert {share: progress.percent(share) for share in said} == said
    assert [progress.chance(p) for p in (0.004, 0.12, 0.996)] == [
        "under 1 %",
        "12 %",
        "over 99 %",
    ]
    assert progress.between(0.01, 0.025) == "1.0 to 2.5 %"
    assert progress.between(0.0001, 0.025) == "under 0.1 % to 2.5 %"


def test_estimates_and_flags_are_said_in_plain_english() -> None:
    assert progress.about(0.123) == "about 12.3 %"
    assert progress.about(0.123, first=True) == "About 12.3 %"
    # "about under" says the same twice
    assert progress.about(0.0001, first=True) == "Under 0.1 %"
    assert progress.about(0.9999) == "over 99.9 %"
    assert progress.flagged(1) == "1 is flagged"
    assert progress.flagged(1200) == "1,200 are flagged"


def test_words_of_a_label_follow_the_probability_that_is_shown() -> None:
    shares = (1, 0.95, 0.8, 0.5, 0.49, 0.28, 0.1, 0.0)
    assert [progress.how_wrong(p) for p in shares] == [
        "almost certainly wrong",
        "almost certainly wrong",
        "very likely wrong",
        "probably wrong",
        "perhaps wrong",
        "probably right",
        "very likely right",
        "almost certainly right",
    ]
    assert progress.wrong_in_full(0.97) == "almost certainly wrong (97 %)"
    assert progress.wrong_in_full(0.28) == "probably right (28 % likely to be wrong)"
    # whatever is below one half is no more than possible
    assert progress.how_likely(0.28) == "possibly"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_an_encoding_lacks_is_written_otherwise_and_never_lost(
    encoding: str,
) -> None:
    """Two names stay two names, and signs of ours are what typewriters made of them."""
    names = ["\u043d\u0443\u043b\u044c", "\u4e00\u756a", "\U0001f3af"]
    written = [name.encode(encoding, progress.NARROW) for name in names]
    assert written[0] == rb"\u043d\u0443\u043b\u044c"
    assert [w.decode("unicode_escape") for w in written] == names
    assert "1 \u2264 2 \u2192 3".encode(encoding, progress.NARROW) == b"1 <= 2 -> 3"
    dots = "\u2026 \u2013".encode(encoding, progress.NARROW)
    assert dots == (b"... -" if encoding == "ascii" else b"\x85 \x96")
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", progress.NARROW)
