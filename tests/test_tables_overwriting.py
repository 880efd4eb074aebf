"""Files of somebody else are not replaced by a table that is written with -o."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from labelsieve import tables
from labelsieve.errors import OptionError

NAMES = ["sample_id", "path", "label"]
OURS = pa.table({"sample_id": ["a"], "path": ["a.png"], "label": ["x"], "more": [1]})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_earlier_table_of_the_same_command_may_be_replaced(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    write = tables.write_csv if suffix == ".csv" else tables.write_parquet
    tables.refuse_other(path, NAMES)  # none is there
    path.touch()
    tables.refuse_other(path, NAMES)  # nothing could be lost
    write(OURS, path)
    tables.refuse_other(path, NAMES)
    write(OURS.select(["path", "label"]), path)
    with pytest.raises(OptionError, match=f"x{suffix}' exists already"):
        tables.refuse_other(path, NAMES)


@pytest.mark.parametrize(
    "content", [b"my notes\n", b"\xff\xfe\0", b"PAR1", b'"' * 99, b"x" * 10**6, b"\n"]
)
@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_whatever_else_is_there_stays(
    tmp_path: Path, content: bytes, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match="exists already"):
        tables.refuse_other(tmp_path / name, NAMES)
    assert (tmp_path / name).read_bytes() == content
