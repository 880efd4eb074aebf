"""Mutated runs, audits, texts and shared folders: the kinds of `attack.fuzz` that came later.

Checksums are written anew after most mutations, as a stranger can compute them, too.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from attack.mutations import clean, command, mutate, mutated_json, mutated_table, words
from attack.samples import digits

# What is read of a run; each case gives it to one of them.
VERBS = (
    ("report", "{run}"),
    ("export", "{run}", "--to", "csv", "-o", "{run}.csv", "--force"),
    ("export", "{run}", "--to", "jsonl", "-o", "{run}.jsonl", "--force"),
    ("apply", "{run}", "--policy", "auto", "-o", "{run}-copy"),
    ("certify", "{run}"),
    ("audit", "{run}", "--plan"),
)


def prepare(work: Path, run: Callable[..., object]) -> None:
    """Texts, a run of sets of labels, a run with an audit, and a shared folder with work in it."""
    texts = [{"text": f"so {n} it is {n}", "label": "ab"[n % 2]} for n in range(8)]
    (work / "texts.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    lines = ["text,label", *(f"{t['text']},{t['label']}" for t in texts)]
    (work / "texts.csv").write_text("\n".join(lines) + "\n")
    rows = ["path,labels"]
    for number, (name, label, _) in enumerate(digits(8)):
        more = ";two" if number % 3 == 0 and label != "two" else ""
        rows.append(f"{name}.png,{label}{more}")
    (work / "sets.csv").write_text("\n".join(rows) + "\n")
    options = ["--root", work / "pictures", "-q", "--method", "zero-shot"]
    run(
        "scan",
        work / "sets.csv",
        "--label-separator",
        ";",
        "-o",
        work / "sets",
        *options,
    )
    shutil.copytree(work / "run", work / "audited")
    run("audit", work / "audited", "--answers", "5")
    shutil.rmtree(work / "run-copy", ignore_errors=True)


def use(run: Path, draw: random.Random) -> None:
    """Give a mutated run to one of the commands that read runs."""
    verb = draw.choice(VERBS)
    try:
        command(*(word.replace("{run}", str(run)) for word in verb))
    finally:
        for made in run.parent.glob(f"{run.name}[.-]*"):
            shutil.rmtree(made) if made.is_dir() else made.unlink()


def fresh(work: Path, name: str) -> Path:
    """A copy of a run, always at the same place."""
    copy = work / "mutated-run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(work / name, copy)
    return copy


def sealed(run: Path) -> None:
    """Write the checksums anew, as anybody can."""
    from labelsieve.errors import LabelsieveError
    from labelsieve.files import sha256
    from labelsieve.runs.digests import (
        DIGESTS,
        SIZES,
        read_record,
        sizes_of,
        write_record,
    )

    try:
        record = read_record(run / "run.json")
        record[DIGESTS] = {name: sha256(run / name) for name in record[DIGESTS]}
        record[SIZES] = sizes_of(run, record[DIGESTS])
    # what was mutated is the record itself
    except (LabelsieveError, OSError, TypeError, AttributeError, KeyError):
        return
    write_record(run / "run.json", record)


def run_case(name: str, base: Path, draw: random.Random) -> None:
    """A run from somebody else: a table, or one of its JSON files."""
    run = fresh(base / "work", name)
    names = ["scores.parquet", "manifest.parquet", "probs.parquet", "run.json"]
    target = run / draw.choice(
        [*names, "noise.json", "preflight.json", "scores.parquet"]
    )
    content = target.read_bytes()
    if draw.random() < 0.2:
        target.write_bytes(mutate(content, base, draw))
    elif target.suffix == ".json":
        value = json.loads(content)
        for _ in range(draw.choice([1, 1, 3])):
            value = mutated_json(value, base, draw)
        target.write_text(json.dumps(value))
    else:
        table = mutated_table(pq.read_table(io.BytesIO(content)), base, draw)
        pq.write_table(table, target)
    if draw.random() < 0.8:
        sealed(run)
    use(run, draw)


def outsiders_case(base: Path, draw: random.Random) -> None:
    """Columns of what belongs to no class, and of reasons, with other values."""
    run = fresh(base / "work", "run")
    table = pq.read_table(run / "scores.parquet")
    for _ in range(draw.choice([1, 2, 4])):
        name = draw.choice(["status", "reason", *table.column_names])
        if name not in table.column_names:
            continue
        values = table[name].to_pylist()
        others = [
            None,
            "outsider",
            "corrupt",
            "ok",
            clean(words(base, draw)),
            "nan",
            "-1",
        ]
        for _ in range(draw.choice([1, 5, len(values)])):
            values[draw.randrange(len(values))] = draw.choice(others)
        texts = [None if v is None else str(v) for v in values]
        table = _set(table, name, texts)
    pq.write_table(table, run / "scores.parquet")
    sealed(run)
    use(run, draw)


def _set(table: object, name: str, texts: list[str | None]) -> object:
    """A column of other values, in its own type where they fit."""
    import pyarrow as pa

    assert isinstance(table, pa.Table)
    column = pa.array(texts, pa.string())
    with contextlib.suppress(pa.ArrowException, ValueError):
        column = column.cast(table.schema.field(name).type)
    return table.set_column(table.column_names.index(name), name, column)


def audit_case(base: Path, draw: random.Random) -> None:
    """An audit that somebody else wrote down, mostly under right checksums."""
    from labelsieve.files import fingerprint

    run = fresh(base / "work", "audited")
    target = run / "audit.json"
    if draw.random() < 0.2:
        target.write_bytes(mutate(target.read_bytes(), base, draw))
    else:
        content = json.loads(target.read_text())
        for _ in range(draw.choice([1, 1, 3])):
            content = mutated_json(content, base, draw)
        audits = content.get("audits") if isinstance(content, dict) else None
        for audit in audits if isinstance(audits, list) else ():
            if isinstance(audit, dict):
                audit.pop("digest", None)
                audit["digest"] = fingerprint(audit)
        target.write_text(json.dumps(content))
    answers = ("audit", str(run), "--export", str(run) + "-questions.csv")
    if draw.random() < 0.3:
        try:
            command(*answers)
        finally:
            Path(str(run) + "-questions.csv").unlink(missing_ok=True)
    else:
        use(run, draw)


def texts_case(base: Path, draw: random.Random) -> None:
    """A table of texts."""
    suffix = draw.choice([".csv", ".jsonl"])
    table = base / "work" / f"mutated-texts{suffix}"
    table.write_bytes(
        mutate((base / "work" / f"texts{suffix}").read_bytes(), base, draw)
    )
    command("scan", table, "--text-column", "text", "-q", "--preflight")


def parts_case(base: Path, draw: random.Random) -> None:
    """A folder that a scan and its workers share: tasks, jobs and results of somebody else."""
    import numpy as np
    import pyarrow as pa

    from labelsieve.data.spec import DataSpec
    from labelsieve.engines import Options, Task, _elsewhere, _listing, _work, folder
    from labelsieve.engines._parts import sealed as with_digest
    from labelsieve.errors import LabelsieveError

    folder.LOOK = 0.01
    shared = base / "work" / "shared"
    shutil.rmtree(shared, ignore_errors=True)
    spec = DataSpec(
        str(base / "work" / "table.csv"), root=str(base / "work" / "pictures")
    )
    rows = pa.table(
        {
            "number": [0, 1],
            "uri": ["a.png", "b.png"],
            "path": ["a", "b"],
            "content_hash": ["", ""],
        },
        schema=_work.ROWS,
    )
    pool = folder.open_pool(Options(shared=str(shared)))
    job = _work.pack("read", spec, None, {}, {}, {"x": np.zeros(2)})
    pool.submit(Task("shard", "job", job, _work.to_bytes(rows), "rows 0 to 1"))
    files = [p for p in shared.rglob("*") if p.is_file()]
    target = draw.choice([p for p in files if p.parent.name in ("tasks", "jobs")])
    content = mutate(target.read_bytes()[:-32], base, draw)
    target.write_bytes(with_digest(content) if draw.random() < 0.8 else content)
    command("work", shared, "--idle", "0.03", "-q")
    _hurt_result(shared, base, draw)
    for outcome in pool.outcomes(0.05):
        with contextlib.suppress(LabelsieveError):
            _elsewhere._array(outcome.result, 2)
        with contextlib.suppress(LabelsieveError):
            _listing._read(outcome.result, [0, 1])


def _hurt_result(shared: Path, base: Path, draw: random.Random) -> None:
    """What the worker sent, or nothing, mutated under a right digest."""
    from labelsieve.engines._parts import sealed as with_digest

    names = [p.name for p in (shared / "tasks").glob("*")] or ["none"]
    target = shared / "results" / names[0]
    target.parent.mkdir(exist_ok=True)
    content = target.read_bytes()[:-32] if target.exists() else b'{"state": "done"}\n'
    content = mutate(content, base, draw)
    target.write_bytes(with_digest(content) if draw.random() < 0.8 else content)


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "texts": texts_case,
    "sets": lambda base, draw: run_case("sets", base, draw),
    "runs": lambda base, draw: run_case("run", base, draw),
    "outsiders": outsiders_case,
    "audit": audit_case,
    "parts": parts_case,
}
