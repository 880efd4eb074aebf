"""Mutated data of every other storage, and files that options name: kinds of `attack.fuzz`.

Annotations, archives, shards, arrays and saved data sets of a stranger; embeddings, probabilities,
class names and configurations; the file of decisions in a run.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from attack.mutations import clean, command, mutate, mutated_json, mutated_table, words

EXPORTS = ("coco", "cvat", "yolo", "label-studio", "imagefolder", "hf", "webdataset")
ZERO_SHOT = ("--method", "zero-shot", "-q", "--force")
AUTO = ("--policy", "auto", "--min-confidence", "0.3")
# what columns of texts and of numbers may hold all the same
VALUES = (None, 5, 1e300, b"\xff\xfe", "accept", "undo", "other", -1, 2**62, "one")
IMAGES = (".png", ".jpg", ".u8")
BENCH = """
seeds = [0]
tower = [{ name = "tiny" }]
method = [{ name = "zero-shot" }]
[[data]]
name = "photos"
path = "few"
noise = [{ kind = "symmetric", rate = 0.2 }]
"""


def prepare(work: Path, run: Callable[..., object]) -> None:
    """One sound data set of each storage, and one sound file for each option."""
    sound = work / "storages"
    sound.mkdir()
    for kind in EXPORTS:
        run("export", work / "run", "--to", kind, "-o", sound / kind)
    folder = sound / "imagefolder"
    for suffix, form in ((".zip", "zip"), (".tar", "tar"), (".tar.gz", "gztar")):
        packed = sound / f"packed-{form}"
        packed.mkdir()
        shutil.make_archive(str(packed / "all"), form, folder)
        assert (packed / f"all{suffix}").exists()
    _write_arrays(sound, folder)
    _write_tables(work, sound)
    _write_options(work)
    shutil.copytree(work / "run", work / "decided")
    from labelsieve import Run
    from labelsieve.runs.decisions import Decisions

    decisions = Decisions(work / "decided")
    for row in Run(work / "decided").scores.slice(0, 6).to_pylist():
        decisions.add(row["sample_id"], "accept", row["suggested_label"], by="attack")
    decisions.close()


def _write_arrays(sound: Path, folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))[:12]
    images = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])
    labels = np.array([int(f.parent.name == "one") for f in files])
    (sound / "arrays").mkdir()
    np.savez(sound / "arrays" / "all.npz", images=images, labels=labels)


def _write_tables(work: Path, sound: Path) -> None:
    """Tables that lie in several files, packed, or beside their pictures."""
    for name in ("shards", "gz", "listed", "metadata"):
        (sound / name).mkdir()
    table = pq.read_table(work / "table.parquet")
    for number in range(2):
        pq.write_table(
            table.slice(4 * number, 4), sound / "shards" / f"{number}.parquet"
        )
    text = (work / "table.csv").read_bytes()
    shutil.copytree(work / "pictures", sound / "gz", dirs_exist_ok=True)
    (sound / "gz" / "table.csv.gz").write_bytes(gzip.compress(text))
    shutil.copytree(work / "pictures", sound / "metadata", dirs_exist_ok=True)
    lines = text.decode().replace("path,label,id", "file_name,label,id")
    (sound / "metadata" / "metadata.csv").write_text(lines)
    shutil.copytree(work / "pictures", sound / "listed", dirs_exist_ok=True)
    rows = [row.split(",")[:2] for row in text.decode().splitlines()[1:]]
    numbers = {"zero": "0", "one": "1", "two": "2"}
    listing = "".join(f"{path} {numbers[label]}\n" for path, label in rows)
    (sound / "listed" / "train.txt").write_text(listing)


def _write_options(work: Path) -> None:
    options = work / "options"
    options.mkdir()
    names = sorted(
        p.relative_to(work / "few").as_posix() for p in (work / "few").rglob("*.png")
    )
    draw = np.random.default_rng(0)
    points = draw.normal(size=(len(names), 4)).astype("f4")
    probs = draw.dirichlet(np.ones(2), len(names)).astype("f4")
    np.save(options / "points.npy", points)
    np.savez(options / "points.npz", ids=np.array(names), embeddings=points)
    (options / "probs.csv").write_text(
        "id,zero,one\n"
        + "".join(f"{n},{a},{b}\n" for n, (a, b) in zip(names, probs, strict=True))
    )
    (options / "names.csv").write_text("label,name\nzero,a nought\none,a one\n")
    (options / "names.json").write_text(
        json.dumps({"zero": "a nought", "one": "a one"})
    )
    (options / "config.toml").write_text("epochs = 1\n")
    (options / "config.json").write_text('{"epochs": 1, "views": 1}')
    (options / "bench.toml").write_text(BENCH)


def source_case(base: Path, draw: random.Random) -> None:
    """One file of a data set of one of the storages was changed."""
    work = base / "work"
    name = draw.choice(sorted(p.name for p in (work / "storages").iterdir()))
    copy = work / "mutated-storage"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(work / "storages" / name, copy)
    files = [p for p in sorted(copy.rglob("*")) if p.is_file()]
    others = [p for p in files if p.suffix not in IMAGES]
    change(draw.choice(others or files), base, draw)
    data = named(copy)
    how = draw.random()
    if how < 0.6:
        command(
            "scan", data, "-q", "--preflight", *draw.choice([(), ("--items", "images")])
        )
        return
    run = work / "run-of-storage"
    command("scan", data, "-o", run, *ZERO_SHOT)
    if (run / "run.json").exists():
        # the run may be of a case before; then data do not match it, and that is named
        command(
            "apply",
            run,
            *AUTO,
            *draw.choice([("--in-place",), ("-o", work / "stored")]),
        )
        shutil.rmtree(work / "stored", ignore_errors=True)
        kind = draw.choice(["coco", "webdataset", "yolo", "hf"])
        command("export", run, "--to", kind, "-o", work / "stored")
        shutil.rmtree(work / "stored", ignore_errors=True)


def named(copy: Path) -> Path:
    """What a person names: the file where a folder holds one, else the folder."""
    inside = [p for p in copy.iterdir() if not p.name.startswith(".")]
    tables = [p for p in inside if p.name.endswith((".csv.gz", ".txt", ".npz", ".zip"))]
    if len(tables) == 1 and copy.name != "yolo":
        return tables[0]
    return inside[0] if len(inside) == 1 and inside[0].is_file() else copy


def change(file: Path, base: Path, draw: random.Random) -> None:
    """Change a file by what it is: JSON, a table, members of a zip, or bytes."""
    content = file.read_bytes()
    if draw.random() < 0.7:
        if file.suffix == ".json":
            value = json.loads(content)
            for _ in range(draw.choice([1, 1, 3])):
                value = mutated_json(value, base, draw)
            file.write_text(json.dumps(value))
            return
        if file.suffix == ".parquet":
            pq.write_table(
                mutated_table(pq.read_table(io.BytesIO(content)), base, draw), file
            )
            return
        if file.suffix in (".zip", ".npz"):
            _change_member(file, base, draw)
            return
        if file.suffix == ".gz":
            file.write_bytes(
                gzip.compress(mutate(gzip.decompress(content), base, draw))
            )
            return
    file.write_bytes(mutate(content, base, draw))


def _change_member(file: Path, base: Path, draw: random.Random) -> None:
    with zipfile.ZipFile(file) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    victim = draw.choice(sorted(members))
    members[victim] = mutate(members[victim], base, draw)
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)


def option_case(base: Path, draw: random.Random) -> None:
    """A file that an option names was changed."""
    work = base / "work"
    sound = draw.choice(sorted((work / "options").iterdir()))
    file = work / f"mutated-{sound.name}"
    shutil.copy(sound, file)
    change(file, base, draw)
    few = work / "few"
    run = work / "run-of-option"
    if sound.stem == "bench":
        out = work / "benched"
        shutil.rmtree(out, ignore_errors=True)
        command("bench", file, "--data-root", work, "-o", out, "--plan")
        return
    scan = ("scan", few, "-o", run, *ZERO_SHOT)
    option = {
        "points": ("--embeddings", file, *draw.choice([(), ("--rows-match",)])),
        "probs": ("--pred-probs", file),
        "names": ("--class-names", file),
        "config": ("--config", file),
    }[sound.stem]
    if sound.stem in ("points", "probs"):
        command("scan", few, "-o", run, "-q", "--force", *option)
    else:
        command(*scan, *option)


def decisions_case(base: Path, draw: random.Random) -> None:
    """The file of decisions in a run was changed, or values in it, mostly without checksums."""
    work = base / "work"
    run = work / "mutated-run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(work / "decided", run)
    file = run / "decisions.sqlite"
    if draw.random() < 0.2:
        file.write_bytes(mutate(file.read_bytes(), base, draw))
    else:
        _change_rows(file, base, draw)
    verb = draw.choice(
        [
            ("report", run),
            ("export", run, "--to", "csv", "-o", work / "decided.csv", "--force"),
            ("apply", run, "--in-place"),
            ("certify", run),
            ("audit", run, "--plan"),
        ]
    )
    command(*verb)


def _change_rows(file: Path, base: Path, draw: random.Random) -> None:
    """Write other values into a table, as anybody can who has SQLite."""
    with (
        contextlib.closing(sqlite3.connect(file)) as db,
        contextlib.suppress(sqlite3.Error),
    ):
        for trigger in ("no_update", "no_delete"):
            db.execute(f"DROP TRIGGER {trigger}")
        # rows of earlier versions have no checksum
        if draw.random() < 0.8:
            db.execute("UPDATE decisions SET digest = NULL")
        table = draw.choice(["decisions"] * 5 + ["sqlite_sequence"])
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        for _ in range(draw.choice([1, 1, 3])):
            value = draw.choice([*VALUES, clean(words(base, draw))])
            where = draw.choice(["", " WHERE rowid = 1", " WHERE rowid > 3"])
            db.execute(
                f"UPDATE {table} SET {draw.choice(columns)} = ?{where}", (value,)
            )
        db.commit()


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "sources": source_case,
    "options": option_case,
    "decisions": decisions_case,
}
