"""The review page with a million images: memory, seconds to the first page, and latency of each
action over HTTP. The images are scikit-learn's digits, scanned once and repeated with other ids,
scores and features drawn at random, so that nothing has to be downloaded."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from bench_startup import folder_of
from timing import machine, table

IMAGES = 200  # files on the disk that the rows share
SCREEN = 60  # cells of a screen of the grid
CLASSES = 10
REPEATS = 15
PREPARED = (
    60  # seconds until what is prepared in the background is done, on a busy machine
)


def synthetic_run(
    base: Path, rows: int, dims: int, p_wrong: np.ndarray | None = None
) -> Path:
    """A finished run of `rows` images with features of `dims` numbers in the cache.

    Args:
        base: pictures lie in its `data`, in ten folders; where there are none, digits are drawn.
        p_wrong: [rows]; drawn at random where it is not given.
    """
    from labelsieve import cache, progress, tables
    from labelsieve.pipeline.scan import scan
    from labelsieve.runs.run import Run, run_folder

    progress.be_quiet()
    if not (base / "data").exists():
        folder_of(base / "data", IMAGES, 32)
    folder = base / "run"
    scan(base / "data", output=folder, method="zero-shot", model="tiny")
    opened = Run(folder)
    random = np.random.default_rng(0)
    origin = np.arange(rows) % len(opened.manifest)
    manifest = opened.manifest.take(origin)
    ids = new_ids(manifest["sample_id"].to_pylist())
    manifest = put(manifest, "sample_id", pa.array(ids))
    if p_wrong is None:
        p_wrong = random.beta(0.4, 3, rows)
    order = np.argsort(-p_wrong)
    scores = scores_of(opened, manifest, p_wrong).take(order)
    features = random.normal(size=(rows, dims)).astype(np.float16)
    path = cache.cache_folder() / "features" / "synthetic.npy"
    cache.write_array(path, features)
    tables.write_parquet(manifest, folder / "manifest.parquet")
    tables.write_parquet(scores, folder / "scores.parquet")
    write_probs(folder, scores, opened, random)
    quality = opened.quality().take(origin)
    tables.write_parquet(
        put(quality, "sample_id", pa.array(ids)), folder / "quality.parquet"
    )
    tables.write_parquet(opened.duplicates().slice(0, 0), folder / "duplicates.parquet")
    flagged = int(np.count_nonzero(p_wrong > 0.5))
    found = {"flagged": flagged, "scored": rows, "features": str(path)}
    run_folder(folder).finish(found)
    return folder


def new_ids(ids: list[str]) -> list[str]:
    """Ids that are unique and still end with the hash of their picture."""
    made = []
    for number, old in enumerate(ids):
        name, _, digest = old.rpartition("#")
        made.append(f"{number:07d}/{name}#{digest}")
    return made


def put(table_: pa.Table, name: str, values: Any) -> pa.Table:
    place = table_.column_names.index(name)
    return table_.set_column(place, table_.schema.field(name), values)


def scores_of(opened: Any, manifest: pa.Table, p_wrong: np.ndarray) -> pa.Table:
    """Scores that say what the probabilities say."""
    n = len(manifest)
    classes = opened.classes
    given = manifest["given_label"].to_pylist()
    at = {name: number for number, name in enumerate(classes)}
    other = [classes[(at[label] + 1) % CLASSES] for label in given]
    wrong = p_wrong > 0.5
    suggested = np.where(wrong, other, given)
    columns = {
        "sample_id": manifest["sample_id"],
        "path": manifest["sample_id"],
        "given_label": manifest["given_label"],
        "p_clean": 1 - p_wrong,
        "is_label_issue": wrong,
        "suggested_label": suggested,
        "suggested_prob": np.maximum(p_wrong, 1 - p_wrong),
        "margin": 1 - 2 * p_wrong,
        "rank": np.argsort(np.argsort(-p_wrong)) + 1,
        "status": ["ok"] * n,
        "reason": pa.nulls(n, pa.string()),
    }
    schema = opened.scores.schema
    for field in schema:
        columns.setdefault(field.name, pa.nulls(n, field.type))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def write_probs(folder: Path, scores: pa.Table, opened: Any, random: Any) -> None:
    from labelsieve import tables

    n = len(scores)
    probs = random.dirichlet(np.ones(CLASSES), n)
    at = {name: number for number, name in enumerate(opened.classes)}
    given = np.array([at[label] for label in scores["given_label"].to_pylist()])
    clean = scores["p_clean"].to_numpy()
    probs[np.arange(n), given] = 0
    probs *= ((1 - clean) / probs.sum(1))[:, None]
    probs[np.arange(n), given] = clean
    schema = opened.probs().schema
    values = pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), CLASSES)
    columns = [scores["sample_id"], values.cast(schema.field("probs").type)]
    tables.write_parquet(pa.table(columns, schema=schema), folder / "probs.parquet")


class Server:
    """`labelsieve review` as a process of its own.

    Args:
        code: a checkout of another version, whose page is served; None: this one.
    """

    def __init__(self, folder: Path, code: Path | None = None) -> None:
        words = [sys.executable, "-m", "labelsieve", "review", str(folder)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [*words, "--no-browser"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # python -m takes the package of the folder that it is started in
            cwd=code,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = re.findall(r"http://\S+", line)[0]
        self.listening = time.perf_counter() - start
        self.get("?w=first")
        self.first = time.perf_counter() - start
        self.first_busy = self.busy()

    def get(self, page: str) -> bytes:
        with urllib.request.urlopen(self.address + page) as answer:
            content: bytes = answer.read()
        return content

    def post(self, page: str, **fields: Any) -> bytes:
        data = urlencode(fields).encode()
        with urllib.request.urlopen(self.address + page, data=data) as answer:
            content: bytes = answer.read()
        return content

    def busy(self) -> float:
        """Seconds of processor time so far: other programs do not change them."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def memory(self, what: str = "VmRSS") -> float:
        """Gigabytes that the process holds, or held at most (VmHWM)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"{what}:\s+(\d+)", text)[0]) / 1e6


def actions(server: Server) -> dict[str, Callable[[int], object]]:
    """What people do, each with another image or filter at every call."""

    def cells(**query: Any) -> Callable[[int], object]:
        def call(number: int) -> bytes:
            wanted = {k: str(v).format(number) for k, v in query.items()}
            address = urlencode({"w": "grid", "count": SCREEN, **wanted})
            return server.get(f"cells?{address}")

        return call

    def decide_many(number: int) -> bytes:
        start = (number + 1) * SCREEN
        screen = server.get(f"cells?w=grid&show=all&start={start}&count={SCREEN}")
        chosen = json.loads(screen)["cells"]
        rows = ",".join(str(cell["row"]) for cell in chosen)
        seen = ",".join(str(cell["seen"]) for cell in chosen)
        return server.post(
            "decide-many", rows=rows, seen=seen, verdict="keep", w="grid"
        )

    def decide(number: int) -> bytes:
        page = server.get("?w=card").decode()
        found = re.findall(r'name="sample_id" value="([^"]+)"', page)[0]
        return server.post("decide", sample_id=found, verdict="keep", w="card", seen=0)

    def one_pixel_row(number: int) -> None:
        for row in range(number * SCREEN, (number + 1) * SCREEN):
            server.get(f"image?row={row}&size=small")

    return {
        "card": lambda n: server.get(f"?w=card&row={n * 991}"),
        "one decision (read, write, next card)": decide,
        "grid, next screen": cells(show="all", start="{0}00"),
        "grid, by label": cells(show="all", sort="class", start="{0}"),
        "grid, by confusion": cells(show="all", sort="pair", start="{0}"),
        "grid, by path": cells(sort="name", show="all", start="{0}000"),
        "grid, most to learn": cells(show="all", sort="gain", start="{0}"),
        "grid, other label": cells(given="{0}", show="all"),
        "grid, other text in path": cells(text="0{0}/", show="all"),
        "grid, other probability": cells(least="0.{0}1", show="all"),
        "grid, what looks like an image": cells(
            sort="similar", like="{0}77", show="all"
        ),
        f"{SCREEN} decisions (read, one write)": decide_many,
        "undo": lambda n: server.post("undo-many", w="grid"),
        "map, what answers change": lambda n: server.get("states"),
        "audit": lambda n: server.get("audit?w=audit"),
        f"{SCREEN} small pictures, one after the other": one_pixel_row,
    }


def measure(server: Server) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, call in actions(server).items():
        times = []
        before = server.busy()
        for number in range(1, REPEATS + 1):
            start = time.perf_counter()
            call(number)
            times.append(time.perf_counter() - start)
        busy = (server.busy() - before) / REPEATS
        first, rest = times[0], times[1:]
        rows.append(
            [
                name,
                f"{1000 * statistics.median(rest):.0f}",
                f"{1000 * max(rest):.0f}",
                f"{1000 * first:.0f}",
                f"{1000 * busy:.0f}",
                f"{server.memory():.2f}",
            ]
        )
    return rows


def started(server: Server) -> None:
    """How long the first page took, and the memory until then."""
    print(
        f"listening after {server.listening:.1f} s, first page {server.first:.1f} s, "
        f"processor {server.first_busy:.1f} s; memory {server.memory():.2f} GB"
    )


def warm_starts(folder: Path, number: int) -> None:
    """Start again what was started before, with and without decisions."""
    for _ in range(number):
        server = Server(folder)
        started(server)
        server.process.kill()
        server.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--starts", type=int, default=3, help="warm starts")
    parser.add_argument("--keep", type=Path, help="folder to work in, and to keep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = options.keep or Path(temporary)
        os.environ["LABELSIEVE_CACHE"] = str(base / "cache")
        folder = base / "run"
        if not folder.exists():
            folder = synthetic_run(base, options.rows, options.dims)
        for name in (
            "decisions.sqlite",
            "decisions.sqlite-wal",
            "decisions.sqlite-shm",
            "audit.json",
        ):
            (folder / name).unlink(missing_ok=True)
        server = Server(folder)
        print(f"{options.rows:,} images, {options.dims} numbers each; {machine()}")
        started(server)
        time.sleep(PREPARED)
        head = ["action", "median ms", "worst ms", "first ms", "CPU ms", "memory GB"]
        try:
            table("Latency", head, measure(server))
            print(f"most memory {server.memory('VmHWM'):.2f} GB")
        finally:
            server.process.kill()
            server.process.wait()
        print("\nStarted again, with the decisions and the audit of before:")
        warm_starts(folder, options.starts)


if __name__ == "__main__":
    main()
