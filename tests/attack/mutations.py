"""What the fuzzer does to sound bytes, tables and JSON, and how it gives them to a command."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from attack.children import main_here

# What parsers and paths trip over; {outside} is a folder that nothing may touch.
WORDS = [
    "",
    " ",
    "null",
    "NaN",
    "-1",
    "1e999",
    "9" * 25,
    "\\u0000",
    "\x00",
    "\ud800",
    "\ufeff",
    "é" * 300,
    '"',
    "'",
    "\n",
    "\r",
    ",",
    "\t",
    "{:",
    "[" * 2000,
    '{"a":' * 200,
    "x" * 70_000,
    "..",
    "/",
    "../../outside/a.txt",
    "%2e%2e/%2e%2e/outside/a.txt",
    "..%2F..%2Foutside%2Fa.txt",
    "..\\..\\outside\\a.txt",
    "{outside}/a.txt",
    "{outside}/new.txt",
    "{outside}",
    "file://{outside}/a.txt",
    "zero/../../../outside/a.txt",
    ".labelsieve/journal.json",
    "data/../../outside",
    "link/a.txt",
    "CON",
    "a:b",
]
# The words that lead somewhere else.
PATHS = [word for word in WORDS if "outside" in word or word.startswith("link")]


def words(base: Path, draw: random.Random) -> str:
    choices = WORDS if draw.random() < 0.5 else PATHS
    return draw.choice(choices).replace("{outside}", str(base / "outside"))


def mutate(data: bytes, base: Path, draw: random.Random) -> bytes:
    """One to three changes of bytes."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(changed) + 1)
        end = min(len(changed), start + draw.choice([1, 1, 2, 8, 60]))
        part = changed[start:end]
        kind = draw.randrange(6)
        if kind == 0 and part:
            changed[start] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = part * draw.choice([1, 2, 50])
        elif kind == 3:
            changed[start:start] = words(base, draw).encode("utf-8", "surrogatepass")
        elif kind == 4:
            changed[start:end] = words(base, draw).encode("utf-8", "surrogatepass")
        else:
            del changed[start:]
    return bytes(changed)


def command(*arguments: object) -> None:
    """Run the command line here; raises unless it ends well or with one line of error."""
    code, err = main_here([*map(str, arguments)])
    if code not in (0, 2):
        raise ValueError(f"exit {code}: {err[-300:]}")
    if code == 2 and not err.strip():
        raise ValueError("exit 2 without a word")


def mutated_table(table: pa.Table, base: Path, draw: random.Random) -> pa.Table:
    """Other values in some cells, or a column of another type."""
    name = draw.choice(table.column_names)
    index = table.column_names.index(name)
    values = table[name].to_pylist()
    kind = draw.randrange(5)
    column: Any
    if kind < 3 and values:
        for _ in range(draw.choice([1, 1, len(values)])):
            values[draw.randrange(len(values))] = clean(words(base, draw))
        column = pa.array([None if v is None else str(v) for v in values], pa.string())
    elif kind == 3:
        column = draw.choice(
            [
                pa.array(range(len(values)), pa.int64()),
                pa.array([[1, 2]] * len(values)),
                pa.array([None] * len(values), pa.null()),
                pa.array([{"bytes": b"x", "path": "a"}] * len(values)),
                pa.array([float("nan")] * len(values)),
                pa.array([b"\xff\xfe"] * len(values)),
            ]
        )
    else:
        return table.drop_columns([name])
    return table.set_column(index, name, column)


def clean(text: str) -> str:
    """Text that Arrow can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def mutated_json(value: Any, base: Path, draw: random.Random) -> Any:
    """One value somewhere inside, changed."""
    if isinstance(value, dict) and value and draw.random() < 0.95:
        # mostly to where the steps are, which are what is carried out
        deep = [n for n in value if isinstance(value[n], (dict, list)) and value[n]]
        name = draw.choice(deep if deep and draw.random() < 0.8 else sorted(value))
        return {**value, name: mutated_json(value[name], base, draw)}
    if isinstance(value, list) and value and draw.random() < 0.95:
        index = draw.randrange(len(value))
        inner = mutated_json(value[index], base, draw)
        return [*value[:index], inner, *value[index + 1 :]]
    others = [None, 5, [], {}, True, "swap", "replace", "link", "remove-empty"]
    return draw.choice(others) if draw.random() < 0.2 else clean(words(base, draw))
