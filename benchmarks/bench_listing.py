"""A million rows in shards: listed, and corrected in place and back; seconds and memory.

    python benchmarks/bench_listing.py --rows 1000000

Call it with OMP_NUM_THREADS=1. For each format a folder of shards with paths and labels is listed,
then a thousand labels are corrected and taken back, each in a process of its own. Memory is the
most that a process held, without what a Python with the same imports holds before it reads.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SHARDS = 20
FORMATS = ("parquet", "csv", "csv.gz", "jsonl")
CORRECTED = 1000

LIST = """
import resource, sys, time
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
import labelsieve.corrections.write_back as write_back
from labelsieve.tables import CORRECTIONS
import pyarrow as pa
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
spec, count = DataSpec(sys.argv[1]), int(sys.argv[2])
before, start = peak(), time.perf_counter()
"""
LISTING = f"""{LIST}
rows = sum(1 for _ in open_source(spec).rows())
print(f"listed {{rows:,}} rows in {{time.perf_counter() - start:.0f}} s, "
      f"{{peak() - before:.0f}} MiB more than {{before:.0f}}")
"""
CORRECTING = f"""{LIST}
rows = open_source(spec).rows()
changes = []
for number, row in enumerate(rows):
    if number % (count // {CORRECTED}):
        continue
    new = "b" if row.label != "b" else "a"
    about = dict.fromkeys(CORRECTIONS.names) | {{
        "sample_id": row.key + "#", "uri": row.uri, "path": row.path, "action": "relabel",
        "old_label": row.label, "new_label": new, "reason": "bench"}}
    changes.append(about)
patch = pa.Table.from_pylist(changes, CORRECTIONS)
start = time.perf_counter()
write_back.in_place(spec, patch)
middle = time.perf_counter()
write_back.reverse(spec, patch)
print(f"{{len(changes):,}} labels corrected in {{middle - start:.0f}} s, back in "
      f"{{time.perf_counter() - middle:.0f}} s, {{peak() - before:.0f}} MiB more")
"""


def main() -> None:
    """All formats, a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--shards", type=int, default=SHARDS, help="1: a single file")
    words = parser.parse_args()
    for kind in words.formats.split(","):
        with tempfile.TemporaryDirectory(prefix="labelsieve-bench-") as scratch:
            write(Path(scratch), kind, words.rows, words.shards)
            for program in (LISTING, CORRECTING):
                done = subprocess.run(
                    [sys.executable, "-c", program, scratch, str(words.rows)],
                    capture_output=True,
                    text=True,
                )
                said = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
                print(f"{kind}: {said}", flush=True)


def write(folder: Path, kind: str, rows: int, shards: int) -> None:
    """Shards with a path and a label of ten in each row."""
    each = rows // shards
    for shard in range(shards):
        numbers = range(shard * each, (shard + 1) * each)
        images = [f"images/{n % 1000:03d}/{n:08d}.jpg" for n in numbers]
        labels = ["abcdefghij"[n * 7 % 10] for n in numbers]
        path = folder / f"train-{shard:05d}-of-{shards:05d}.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"image": images, "label": labels}), path)
            continue
        pairs = zip(images, labels, strict=True)
        if kind == "jsonl":
            lines = [f'{{"image": "{i}", "label": "{x}"}}\n' for i, x in pairs]
        else:
            lines = ["image,label\n", *(f"{i},{x}\n" for i, x in pairs)]
        data = "".join(lines).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)


if __name__ == "__main__":
    main()
