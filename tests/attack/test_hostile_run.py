"""Runs of a stranger whose checksums are right, and that hold what no scan writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attack import flip
from attack.children import start_forking, watched
from labelsieve.files import sha256
from labelsieve.runs.digests import DIGESTS, SIZES, read_record, sizes_of, write_record

HUGE = 10**400
# Values that stand in for any value of a JSON file.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 7.5, HUGE, float("nan"), float("inf"), "", "x", "{0.a}", "\0"),
    *([], {}, [[]], [None], {"x": None}, {"": {"": {"": {"": {"": {}}}}}}),
)
TEMPLATES = (
    "{",
    "{}}",
    "{0}",
    "{} {x}",
    "{0.__class__} {}",
    "{!r:>99999999}",
    "no",
    "{:d}",
)


def sealed(run: Path) -> None:
    """Write the checksums anew, as anybody can."""
    record = read_record(run / "run.json")
    record[DIGESTS] = {name: sha256(run / name) for name in record[DIGESTS]}
    record[SIZES] = sizes_of(run, record[DIGESTS])
    write_record(run / "run.json", record)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values are in a JSON value, one per list, as the others are alike."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name in list(value)[:4] if len(path) > 1 else value:
            found += places(value[name], (*path, name))
    elif isinstance(value, list) and value:
        found += places(value[0], (*path, 0))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at a place; `KeyError` as new value removes it."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is KeyError:
        del changed[path[0]]
    else:
        changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def read_all(run: Path, data: Path) -> None:
    """Everything that opens a run."""
    for name in ("Run", "export", "report"):
        flip.outcome(flip.READERS[name], run, data)


def try_json(case: int, base: str, file: str, share: int) -> None:
    """In a child: one value of a JSON file in a copy of the run is another one."""
    copy = flip.fresh(Path(base), "run")
    os.environ["LABELSIEVE_CACHE"] = str(Path(base) / flip.USED)
    content = json.loads((copy / file).read_text())
    place, value = json_cases(content)[case * share]
    changed = put(content, place, value)
    if file == "run.json":
        write_record(copy / file, changed)
    else:
        (copy / file).write_text(json.dumps(changed))
        sealed(copy)
    try:
        read_all(copy, Path(base) / "data")
    except Exception as error:
        where = ".".join(map(str, place))
        raise ValueError(f"{where} = {value!r:.40}: {error!r:.300}") from error


def json_cases(content: dict[str, Any]) -> list[tuple[tuple[Any, ...], Any]]:
    cases = []
    for place in places(content):
        if place[0] not in ("seal", DIGESTS, SIZES, "environment"):
            cases += [(place, value) for value in (*VALUES, KeyError)]
    if "command" in content:
        cases += [(("command", "template"), value) for value in TEMPLATES]
    return cases


def table_changes() -> dict[str, Callable[[pa.Table], pa.Table]]:
    """Tables that no scan writes."""

    def column(name: str, make: Callable[[int], Any]) -> Callable[[pa.Table], pa.Table]:
        def change(table: pa.Table) -> pa.Table:
            if name not in table.column_names:
                return table
            new = pa.array(make(len(table)))
            return table.set_column(table.column_names.index(name), name, new)

        return change

    changes: dict[str, Callable[[pa.Table], pa.Table]] = {
        "no rows": lambda t: t.slice(0, 0),
        "half": lambda t: t.slice(0, len(t) // 2),
        "twice": lambda t: pa.concat_tables([t, t]),
        "no columns": lambda t: t.select([]),
        "column twice": lambda t: t.append_column(t.schema.names[0], t.column(0)),
        "other ids": column("sample_id", lambda n: [f"x{k}#0" for k in range(n)]),
        "ids are numbers": column("sample_id", lambda n: list(range(n))),
        "no ids": column("sample_id", lambda n: pa.nulls(n, pa.string())),
        "p_clean of 7": column("p_clean", lambda n: [7.0] * n),
        "p_clean is NaN": column("p_clean", lambda n: [float("nan")] * n),
        "p_clean is text": column("p_clean", lambda n: ["high"] * n),
        "p_clean is missing": column("p_clean", lambda n: pa.nulls(n, pa.float64())),
        "labels are missing": column("given_label", lambda n: pa.nulls(n, pa.string())),
        "labels of others": column("given_label", lambda n: ["\x1b[2J<b>"] * n),
        "suggestions of others": column("suggested_label", lambda n: ["other"] * n),
        "rank is huge": column("rank", lambda n: [2**62] * n),
        "paths are missing": column("path", lambda n: pa.nulls(n, pa.string())),
        "uris lead out": column("uri", lambda n: ["../../etc/passwd"] * n),
        "uris are missing": column("uri", lambda n: pa.nulls(n, pa.string())),
        "another status": column("status", lambda n: ["odd"] * n),
        "slots of others": column("slot", lambda n: [2**60] * n),
        "too few probs": column("probs", lambda n: [[0.5]] * n),
        "probs of 9": column("probs", lambda n: list(np.full((n, 3), 9.0, "f4"))),
        "probs are NaN": column("probs", lambda n: list(np.full((n, 3), np.nan, "f4"))),
        "probs are text": column("probs", lambda n: ["a"] * n),
    }
    return changes


def try_table(case: int, base: str, file: str) -> None:
    """In a child: a table of a copy of the run holds something else."""
    os.environ["LABELSIEVE_CACHE"] = str(Path(base) / flip.USED)
    copy = flip.fresh(Path(base), "run")
    name, change = list(table_changes().items())[case]
    table = pq.read_table(copy / file)
    changed = change(table)
    if changed is table:
        return
    pq.write_table(changed, copy / file)
    sealed(copy)
    try:
        read_all(copy, Path(base) / "data")
    except Exception as error:
        raise ValueError(f"{name}: {error!r:.400}") from error


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a finished scan."""
    start_forking()
    made = tmp_path_factory.mktemp("hostile")
    flip.prepare(made)
    shutil.rmtree(made / "corrected")
    return made


def of_json(file: str, base: Path, share: int) -> list[str]:
    """Faults of every `share`-th case."""
    cases = json_cases(json.loads((base / "run" / file).read_text()))
    assert len(cases) > 200
    chosen = range(0, len(cases), share)
    about = (str(base), file, share)
    return [f"{file} {fault}" for _, fault in watched(try_json, len(chosen), *about)]


# A prime, so that each kind of value meets each field over the files.
@pytest.mark.parametrize("file", ["noise.json", "preflight.json", "run.json"])
def test_some_values_of_another_kind_are_named_or_harmless(
    file: str, base: Path
) -> None:
    faults = of_json(file, base, 23)
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["noise.json", "preflight.json", "run.json"])
def test_values_of_another_kind_are_named_or_harmless(file: str, base: Path) -> None:
    faults = of_json(file, base, 1)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "file", ["scores.parquet", "probs.parquet", "manifest.parquet"]
)
def test_tables_that_no_scan_writes_are_named_or_harmless(
    file: str, base: Path
) -> None:
    cases = len(table_changes())
    about = (str(base), file)
    faults = [f"{file} {fault}" for _, fault in watched(try_table, cases, *about)]
    assert not faults, "\n".join(faults)
