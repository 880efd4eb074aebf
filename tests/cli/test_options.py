"""Options that several commands share mean the same in all of them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from labelsieve.cli.app import app
from labelsieve.cli.options import DataOptions, answer

SHARED = (
    "--image-column",
    "--id-column",
    "--root",
    "--split",
    "--json",
    "--quiet",
    "--device",
    "--precision",
)


def test_shared_options_say_the_same_everywhere() -> None:
    command: Any = typer.main.get_command(app)
    said = defaultdict(set)
    for verb in command.commands.values():
        for parameter in verb.params:
            for name in set(parameter.opts) & set(SHARED):
                if not parameter.help.startswith(
                    "Of --"
                ):  # belongs to another option of that command
                    said[name].add(parameter.help)
    assert sorted(said) == sorted(SHARED)
    assert {name: len(texts) for name, texts in said.items()} == dict.fromkeys(
        SHARED, 1
    )


def test_an_answer_is_json_or_words(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "Käse", "path": app}
    answer(value, True, lambda _: pytest.fail("words were not asked for"))
    printed = capsys.readouterr().out
    assert (
        json.loads(printed)["name"] == "Käse"
        and "Käse" in printed
        and printed.count("\n") == 1
    )
    answer(value, False, lambda found: typer.echo(found["name"]))
    assert capsys.readouterr().out == "Käse\n"


def test_data_options_are_spelled_once_and_reach_the_data(tmp_path: Any) -> None:
    """Where they describe the data of another option, their help says so."""
    command: Any = typer.main.get_command(app)

    def options(verb: str) -> dict[str, str]:
        names = {}
        for parameter in command.commands[verb].params:
            names[parameter.name] = parameter.help
        return names

    five = {field.name for field in fields(DataOptions)}
    assert five <= options("scan").keys()
    # texts beside images are read by a scan alone
    five -= {"side_text_column"}
    for verb in ("score", "noise"):
        assert "side_text_column" not in options(verb)
        assert five <= options(verb).keys()
    for verb in ("predict", "evaluate"):
        assert five & options(verb).keys() == five - {"label_column"}
    assert options("apply")["root"].startswith("Of --data: folder of")
    assert DataOptions(root="x", split="y").given() == {"root": "x", "split": "y"}
    (tmp_path / "t.csv").write_text("image,label\na.png,b\n")
    table = str(tmp_path / "t.csv")
    assert DataOptions(label_column="label").load(table).label_column == "label"


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
