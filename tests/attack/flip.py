"""Flip single bits of what is read back: the same content, or an error with a name, comes out.

cd tests && python -m attack.flip --flips 200
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attack import scratch
from attack.children import labelsieve, main_here, start_forking, watched
from attack.samples import state, write_digits

# What is there to be damaged. The history is that of a copy of the data, corrected in place.
PREPARE = (
    "scan {base}/data -o {base}/zero-shot --method zero-shot -q",
    "scan {base}/data -o {base}/run --fast --set epochs=1 -q",
    "train {base}/run -o {base}/classifier --set epochs=1 --use all -q",
    "apply {base}/run {auto} --in-place --data {base}/corrected",
    "apply {base}/run {auto} --in-place --data {base}/corrected --yes",
)
AUTO = "--policy auto --min-confidence 0.3"
# A process that is killed leaves the newest rows of an index beside it, in a file of their own.
PARTS = ("run", "cache", "closed-cache", "classifier", "corrected")
OUTSIDE = b"of somebody else\n"
USED = "used-cache"  # the one that readers fill, and that is never hurt
# What one call reads; each is tried by itself, so that one error does not hide another reader.
Reader = Callable[[Path, Path], Any]


def read_tables(run: Path, data: Path) -> Any:
    """Everything that `Run` offers."""
    from labelsieve import Run
    from labelsieve.corrections.patch import read_patch
    from labelsieve.runs.decisions import Decisions

    opened = Run(run)
    decisions = Decisions(run)
    patch, facts = read_patch(run / "corrections.parquet")
    tables = [opened.scores, opened.manifest, opened.probs(), decisions.table(), patch]
    decisions.close()
    rows = [facts, *(table.to_pylist() for table in tables)]
    return [*rows, opened.record, opened.noise, opened.noise_rate, opened.preflight]


def read_csv(run: Path, data: Path) -> Any:
    """What goes to other tools."""
    import labelsieve

    target = run.parent / "scores.csv"
    target.unlink(missing_ok=True)
    labelsieve.export(run, "csv", target)
    return target.read_bytes()


def read_report(run: Path, data: Path) -> Any:
    """The report, made again."""
    from labelsieve import LabelsieveError

    code, err = main_here(["report", str(run)])
    if code:
        raise LabelsieveError(err, "")
    return (run / "report.html").read_bytes()


def read_detector(run: Path, data: Path) -> Any:
    """The detector judges the same pictures."""
    import labelsieve

    return labelsieve.score(run, data).to_pylist()


def read_classifier(folder: Path, data: Path) -> Any:
    """The classifier answers for the same pictures."""
    import labelsieve

    return labelsieve.predict(folder, data).to_pylist()


def read_history(folder: Path, data: Path) -> Any:
    """Corrections are taken back: what they leave, and that a second call finds nothing to do."""
    from labelsieve.corrections import apply
    from labelsieve.corrections.policy import Policy

    run = folder.parent / "of-history"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(data.parent / "run", run)
    auto = Policy("auto", 0.3, True, False)
    work = apply.prepare(run, auto, data=str(folder))
    apply.carry_out(work, reverse=True, yes=True)
    return state(folder)


def read_features(cache: Path, data: Path) -> Any:
    """A scan that finds in the cache what towers computed."""
    import labelsieve

    os.environ["LABELSIEVE_CACHE"] = str(cache)
    again = cache.parent / "again"
    return labelsieve.scan(data, output=again, method="zero-shot").scores.to_pylist()


def read_pixels(cache: Path, data: Path) -> Any:
    """All pictures as towers see them."""
    from labelsieve.data.dataset import prepare as read
    from labelsieve.data.spec import DataSpec
    from labelsieve.models.load import preprocess_of

    os.environ["LABELSIEVE_CACHE"] = str(cache)
    images = read(DataSpec(str(data)), preprocess_of("tiny")).dataset
    pixels = images.inputs(np.arange(len(images)))
    return [images.content, pixels.numpy().tobytes()]


READERS: dict[str, Reader] = {
    "Run": read_tables,
    "export": read_csv,
    "report": read_report,
    "score": read_detector,
    "predict": read_classifier,
    "reverse": read_history,
    "scan": read_features,
    "pixels": read_pixels,
}


def readers_of(part: str, file: str) -> list[str]:
    """What reads a file; the detector takes long to use and is only asked where it may be hurt."""
    if part == "classifier":
        return ["predict"]
    if part == "corrected":
        return ["reverse"]
    if part.endswith("cache"):
        return ["pixels"] if file.startswith("pixels") else ["scan"]
    readers = ["Run", "export", "report"]
    if file.startswith("detector") or file == "run.json":
        readers.append("score")
    return readers


def outcome(reader: Reader, run: Path, data: Path) -> str:
    """A digest of the content, or the error that names what is wrong."""
    from labelsieve import LabelsieveError

    try:
        content = repr(reader(run, data))
    except LabelsieveError as error:
        return f"error: {error}"
    return hashlib.sha256(content.encode()).hexdigest()


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    position = draw.randrange(len(data))
    bit = draw.randrange(8)
    data[position] ^= 1 << bit
    path.write_bytes(data)


def prepare(base: Path) -> None:
    """Data, a finished scan of them with decisions, the cache that it filled, and what follows."""
    write_digits(base / "data")
    write_digits(base / "corrected")
    from labelsieve import Run
    from labelsieve.runs.decisions import Decisions

    for words in PREPARE:
        arguments = words.format(base=base, auto=AUTO).split()
        ended = labelsieve(arguments, base / USED)
        assert ended.code == 0, ended
        if not (base / "cache").exists():
            shutil.copytree(base / USED, base / "cache")
    shutil.copytree(base / "cache", base / "closed-cache")
    _close(next((base / "closed-cache").rglob("index.sqlite")))
    decisions = Decisions(base / "run")
    for row in Run(base / "run").scores.slice(0, 6).to_pylist():
        decisions.add(row["sample_id"], "accept", row["suggested_label"], by="attack")
    decisions.close()


def _close(index: Path) -> None:
    """Bring what lies beside an index into it, as a process that ends well does."""
    connection = sqlite3.connect(index)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def files_of(base: Path, part: str) -> list[str]:
    """Every file of a part that has a bit to flip."""
    folder = base / part
    # pictures are the user's, and have no checksum but their name in the manifest
    start = folder / ".labelsieve" if part == "corrected" else folder
    if part == "closed-cache":
        start = next(folder.rglob("index.sqlite")).parent
    names = []
    for path in sorted(start.rglob("*")):
        # pixels and features are the same in both caches
        same = part == "closed-cache" and path.name == "pixels.u8"
        if path.is_file() and path.stat().st_size and not same:
            names.append(path.relative_to(folder).as_posix())
    return names


def flip_one(case: int, base: str, part: str, file: str, seed: int) -> None:
    """In a child: one flip in a copy; raises where it is believed."""

    def damage(path: Path) -> None:
        flip(path, random.Random(f"{file} {case} {seed}"))

    hurt(Path(base), part, file, damage, f"flip {case}")


def hurt(
    base: Path, part: str, file: str, damage: Callable[[Path], object], what: str
) -> None:
    """Damage a file in a copy of a part; raises where other content is read.

    A damaged cache may not even be an error.
    """
    os.environ["LABELSIEVE_CACHE"] = str(base / USED)
    for name in readers_of(part, file):
        copy = fresh(base, part)
        right = _right(name, copy, base / "data")
        copy = fresh(base, part)
        damage(copy / file)
        result = outcome(READERS[name], copy, base / "data")
        named = result.startswith("error") and not part.endswith("cache")
        if result != right and not named:
            raise ValueError(f"{name} gives {result[:200]} after {what} of {file}")


def fresh(folder: Path, part: str) -> Path:
    """A copy to be hurt, always at the same place, since records hold absolute paths."""
    copy = folder / "hurt" / part
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(folder / part, copy)
    return copy


_known: dict[str, str] = {}


def _right(name: str, run: Path, data: Path) -> str:
    if name not in _known:
        _known[name] = outcome(READERS[name], run, data)
        if _known[name].startswith("error"):
            raise ValueError(f"{name} fails on a sound run: {_known[name]}")
    return _known[name]


def attack(base: Path, flips: int, part: str, seed: int = 0) -> Iterator[str]:
    """Flip bits in every file of a part; gives what was wrong."""
    for file in files_of(base, part):
        yield from attack_file(base, flips, part, file, seed)


def attack_file(
    base: Path, flips: int, part: str, file: str, seed: int = 0
) -> Iterator[str]:
    """Flip bits in one file of a part; gives what was wrong."""
    for case, fault in watched(flip_one, flips, str(base), part, file, seed):
        yield f"{part}/{file}, flip {case}: {fault}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    words = parser.parse_args()
    scratch.begin()
    start_forking()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        prepare(base)
        for part in words.parts:
            for file in files_of(base, part):
                found = list(attack_file(base, words.flips, part, file, words.seed))
                # a line a file: what was stopped has said how far it came
                print(f"{part}/{file}: {len(found)} of {words.flips}", flush=True)
                for fault in found:
                    print(" ", fault, flush=True)


if __name__ == "__main__":
    main()
