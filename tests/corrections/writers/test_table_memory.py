"""Tables of text are corrected a line at a time, whatever their size and packing."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from labelsieve.corrections.writers.lists import ListWriter
from labelsieve.corrections.writers.table import TableWriter
from labelsieve.data.load import load
from labelsieve.data.sources import open_source

ROWS = 20_000
LONG = "x" * 400  # beside the cells that matter: 8 MB of text


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.txt"])
def test_a_large_table_is_rewritten_in_little_memory(tmp_path: Path, name: str) -> None:
    path, target = tmp_path / name, tmp_path / f"new-{name}"
    if ".csv" in name:
        lines = ["image,label,note\n", *(f"{n}.png,a,{LONG}\n" for n in range(ROWS))]
    elif name == "t.txt":
        lines = [f"{LONG}{n}.png a\n" for n in range(ROWS)]
    else:
        cells = f'"label": "a", "note": "{LONG}"'
        lines = [f'{{"image": "{n}.png", {cells}}}\n' for n in range(ROWS)]
    data = "".join(lines).encode()
    path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    spec = load(str(path))
    source = open_source(spec)
    room = ListWriter if name == "t.txt" else TableWriter
    writer = room(spec, path, path.name)
    # Arrow reads ahead in a thread of its own, which is done with the file then
    assert sum(1 for _ in source.rows()) == ROWS
    tracemalloc.start()
    writer._write(source, {ROWS - 2: "b", 1: None}, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20
    written = target.read_bytes()
    if name.endswith(".gz"):
        written = gzip.decompress(written)
    header = int(".csv" in name)
    del lines[1 + header]
    place = -2
    old, new = lines[place], written.decode().splitlines(keepends=True)[place]
    assert new != old and sorted(new.replace("b", "a")) == sorted(old.replace("b", "a"))
    assert len(written) == sum(map(len, lines))
    assert written.decode().splitlines(keepends=True)[:place] == lines[:place]
