"""Mutated tables, patches and journals: no traceback, no crash, no file touched outside the data.

cd tests && python -m attack.fuzz --cases 5000 csv jsonl parquet patch journal history
cd tests && python -m attack.fuzz --cases 1000 texts sets outsiders audit parts pictures answers
cd tests && python -m attack.fuzz --cases 1000 sources options decisions
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from attack import fuzz_more, fuzz_runs, fuzz_sources, scratch
from attack.children import labelsieve, start_forking, watched
from attack.mutations import (
    PATHS,
    clean,
    command,
    mutate,
    mutated_json,
    mutated_table,
    words,
)
from attack.samples import digits, state, write_digits

# Bytes per process; a case that wants more is a fault and must not take the machine along.
MEMORY = 24 << 30
AUTO = ["--policy", "auto", "--min-confidence", "0.3"]
PUBLIC = b"public\n"  # what files of somebody else hold; a stranger may know it


# --- one function a kind: writes one mutated thing and gives it to the command line


def table_case(suffix: str, base: Path, draw: random.Random) -> None:
    """A table of pictures, as a stranger sends it."""
    table = base / "work" / f"mutated{suffix}"
    sound = (base / "work" / f"table{suffix}").read_bytes()
    if suffix == ".parquet" and draw.random() < 0.6:
        pq.write_table(
            mutated_table(pq.read_table(io.BytesIO(sound)), base, draw), table
        )
    else:
        table.write_bytes(mutate(sound, base, draw))
    options = ["--root", base / "work" / "pictures", "-q"]
    if draw.random() < 0.8:
        command("scan", table, *options, "--preflight")
    else:
        run = base / "work" / "run-of-table"
        command("scan", table, *options, "--method", "zero-shot", "-o", run, "--force")


def patch_case(base: Path, draw: random.Random) -> None:
    """A patch from somebody else, for data of our own."""
    work = base / "work"
    patch = work / "mutated-patch.parquet"
    sound = work / "patch.parquet"
    kind = draw.random()
    if kind < 0.3:
        pq.write_table(_aimed(pq.read_table(sound), base, draw), patch)
    elif kind < 0.75:
        pq.write_table(mutated_table(pq.read_table(sound), base, draw), patch)
    else:
        patch.write_bytes(mutate(sound.read_bytes(), base, draw))
    fresh(base, "clean")
    data = work / "data"
    how = draw.choice([["--in-place", "--yes"], ["--in-place"], ["-o", work / "copy"]])
    command("apply", "--patch", patch, "--data", data, *how)
    if "--yes" in how:
        command("apply", "--patch", patch, "--data", data, "--reverse", "--yes")


def _aimed(table: pa.Table, base: Path, draw: random.Random) -> pa.Table:
    """A row that names a file of somebody else, with the digest of what it holds."""
    rows = table.to_pylist()
    row = draw.choice(rows)
    row["sample_id"] = f"x#{hashlib.sha256(PUBLIC).hexdigest()[:12]}"
    column = draw.choice([n for n in ("uri", "new_uri", "path") if n in row])
    for name in {column, draw.choice(["uri", column])}:
        aim = draw.choice([path for path in PATHS if "a.txt" in path])
        row[name] = aim.replace("{outside}", str(base / "outside"))
    if draw.random() < 0.3:
        row["action"] = draw.choice(["relabel", "drop"])
        row["new_label"] = draw.choice(["one", None, clean(words(base, draw))])
    return pa.Table.from_pylist(rows, schema=table.schema)


def journal_case(base: Path, draw: random.Random) -> None:
    """Data from somebody else, with unfinished work in them."""
    fresh(base, "interrupted")
    journal = base / "work" / "data" / ".labelsieve" / "journal.json"
    if draw.random() < 0.75:
        hostile = json.loads(journal.read_text())
        for _ in range(draw.choice([1, 1, 4])):
            hostile = mutated_json(hostile, base, draw)
        if isinstance(hostile, dict) and "steps" in hostile:
            # a stranger can compute a checksum as well as we do
            text = json.dumps(hostile["steps"], sort_keys=True, default=str)
            hostile["check"] = hashlib.sha256(text.encode()).hexdigest()[:16]
        journal.write_text(json.dumps(hostile))
    else:
        journal.write_bytes(mutate(journal.read_bytes(), base, draw))
    use(base, draw)


def history_case(base: Path, draw: random.Random) -> None:
    """Data from somebody else, with a record of corrections made in them."""
    fresh(base, "corrected")
    folder = base / "work" / "data" / ".labelsieve"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    target = draw.choice(files)
    if target.suffix == ".parquet" and draw.random() < 0.75:
        table = mutated_table(pq.read_table(target), base, draw)
        pq.write_table(table, target)
    else:
        target.write_bytes(mutate(target.read_bytes(), base, draw))
    use(base, draw)


def use(base: Path, draw: random.Random) -> None:
    """Whatever looks at the folder beside the data."""
    run = base / "work" / "run"
    how = draw.choice(
        [
            ["--in-place"],
            ["--in-place", "--yes"],
            ["--reverse"],
            ["--reverse", "--yes"],
            ["-o", base / "work" / "copy"],
        ]
    )
    command("apply", run, *AUTO, *how)


def fresh(base: Path, stage: str) -> None:
    """Data as they are at a stage."""
    work = base / "work"
    for name in ("data", "copy"):
        shutil.rmtree(work / name, ignore_errors=True)
    shutil.copytree(base / "stages" / stage, work / "data", symlinks=True)


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "csv": lambda base, draw: table_case(".csv", base, draw),
    "jsonl": lambda base, draw: table_case(".jsonl", base, draw),
    "parquet": lambda base, draw: table_case(".parquet", base, draw),
    "patch": patch_case,
    "journal": journal_case,
    "history": history_case,
    **fuzz_runs.KINDS,
    **fuzz_more.KINDS,
    **fuzz_sources.KINDS,
}


def try_one(case: int, kind: str, folder: str, seed: int) -> None:
    """One case in a child; raises for a traceback, a wrong exit code, a touched file."""
    base = Path(folder)
    _limit_memory()
    os.environ["LABELSIEVE_CACHE"] = str(base / "cache")
    os.chdir(base / "work")
    before = outside(base)
    try:
        KINDS[kind](base, random.Random(f"{kind} {case} {seed}"))
    finally:
        if outside(base) != before:
            _put_outside(base)
            raise ValueError("files outside of the data were touched")


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def outside(base: Path) -> tuple[dict[str, str], list[str]]:
    """All files that belong to somebody else, and the names beside the working folder."""
    return state(base / "outside", hidden=True), sorted(p.name for p in base.iterdir())


def _put_outside(base: Path) -> None:
    shutil.rmtree(base / "outside", ignore_errors=True)
    (base / "outside").mkdir()
    for name in ("a.txt", "b.txt"):
        (base / "outside" / name).write_bytes(PUBLIC)


def prepare(base: Path, *, whole: bool = True) -> None:
    """Sound tables, a run with a patch, and data in three states.

    Args:
        whole: also what `fuzz_sources` needs, and `fuzz_more` besides pictures: a training.
    """
    work = base / "work"
    (work / "pictures").mkdir(parents=True)
    (base / "cache").mkdir()
    (base / "hurt").mkdir()
    _put_outside(base)
    _write_tables(work)
    write_digits(work / "data")
    # a way out that was there before: a link in the data to a folder of somebody else
    (work / "data" / "link").symlink_to(base / "outside")
    _run(base, "scan", work / "data", "-o", work / "run", "--method", "zero-shot", "-q")
    _run(base, "apply", work / "run", *AUTO, "-o", work / "copy")
    shutil.copy(work / "run" / "corrections.parquet", work / "patch.parquet")
    _keep(base, "clean")
    apply = ["apply", work / "run", *AUTO, "--in-place"]
    _run(base, *apply)
    _keep(base, "listed")
    _interrupt(base, *apply, "--yes")
    _keep(base, "interrupted")
    fresh(base, "listed")
    _run(base, *apply, "--yes")
    _keep(base, "corrected")
    fuzz_runs.prepare(work, lambda *arguments: _run(base, *arguments))
    if whole:
        fuzz_more.prepare(work, lambda *arguments: _run(base, *arguments))
        fuzz_sources.prepare(work, lambda *arguments: _run(base, *arguments))


def _write_tables(work: Path) -> None:
    rows = []
    for name, label, png in digits(8):
        (work / "pictures" / f"{name}.png").write_bytes(png)
        rows.append({"path": f"{name}.png", "label": label, "id": name})
    lines = ["path,label,id", *(",".join(row.values()) for row in rows)]
    (work / "table.csv").write_text("\n".join(lines) + "\n")
    (work / "table.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    images = [png for _, _, png in digits(8)]
    table = pa.Table.from_pylist(rows).append_column("image", pa.array(images))
    pq.write_table(table, work / "table.parquet")


def _run(base: Path, *arguments: object) -> None:
    ended = labelsieve([*map(str, arguments)], base / "cache")
    assert ended.code == 0, ended


def _keep(base: Path, stage: str) -> None:
    shutil.copytree(base / "work" / "data", base / "stages" / stage, symlinks=True)


def _interrupt(base: Path, *arguments: object) -> None:
    """Kill a command at the first moment at which it leaves a journal."""
    journal = base / "work" / "data" / ".labelsieve" / "journal.json"
    for moment in range(1, 400):
        labelsieve([*map(str, arguments)], base / "cache", kill_at=moment)
        if journal.exists():
            return
        fresh(base, "listed")
    raise AssertionError("no moment leaves a journal")


def attack(base: Path, kind: str, cases: int, seed: int = 0) -> Iterator[str]:
    """So many mutated things of one kind; gives what was wrong."""
    for case, fault in watched(try_one, cases, kind, str(base), seed):
        yield f"{kind} {case}: {fault}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    arguments = parser.parse_args()
    scratch.begin()
    start_forking()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        prepare(base)
        for kind in arguments.kinds:
            faults = 0
            for fault in attack(base, kind, arguments.cases, arguments.seed):
                faults += 1
                print(" ", fault, flush=True)
            print(f"{kind}: {faults} of {arguments.cases}", flush=True)


if __name__ == "__main__":
    main()
