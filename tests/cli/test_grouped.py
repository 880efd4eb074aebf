"""The help of scan: every option under a title, in one line of a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from labelsieve.cli.app import app

# With their defaults behind them, or more words than fit: they may take two.
LONGER = {"--method", "--model", "--preset", "--template"}


def test_options_of_scan_are_grouped_and_short() -> None:
    printed = CliRunner().invoke(app, ["scan", "--help"]).output
    lines = printed.splitlines()
    titles = [x[:-1] for x in lines if x.endswith(":") and not x.startswith(" ")]
    assert titles == [
        *("Arguments", "Options", "Method", "Data", "Your own numbers"),
        "Several processes or machines",
    ]
    command: Any = get_command(app)
    names = {max(p.opts, key=len) for p in command.commands["scan"].params[1:]}
    starts = [n for n, x in enumerate(lines) if x.strip().startswith("-")]
    seen = set()
    for number in starts:
        (name,) = [
            w for w in lines[number].replace(",", " ").split() if w in names
        ] or [""]
        seen.add(name)
        following = lines[number + 1 :][:1] or [""]
        more = following[0].strip() and not following[0].strip().startswith("-")
        assert not more or name in LONGER, lines[number]
    # --help is the program's own
    assert seen - {""} == names
    assert not any(len(line) > 80 for line in lines)
