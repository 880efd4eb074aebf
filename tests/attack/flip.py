"""Flip single bits of what is read back: the same content, or an error with a name, comes out.

cd tests && python -m attack.flip --flips 200
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attack.children import labelsieve, start_forking, watched
from attack.samples import write_digits

SCAN = "scan {base}/data -o {base}/run --fast --set epochs=1 -q"
# What one call reads; each is tried by itself, so that one error does not hide another reader.
Reader = Callable[[Path, Path], Any]


def read_tables(run: Path, data: Path) -> Any:
    """Everything that `Run` offers."""
    from labelsieve import Run
    from labelsieve.runs.decisions import Decisions

    opened = Run(run)
    decisions = Decisions(run)
    tables = [opened.scores, opened.manifest, opened.probs(), decisions.table()]
    decisions.close()
    rows = [table.to_pylist() for table in tables]
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
    from labelsieve.runs import report

    return report.make(run).read_bytes()


def read_detector(run: Path, data: Path) -> Any:
    """The detector judges the same pictures."""
    import labelsieve

    return labelsieve.score(run, data).to_pylist()


READERS: dict[str, Reader] = {
    "Run": read_tables,
    "export": read_csv,
    "report": read_report,
    "score": read_detector,
}


def readers_of(file: str) -> list[str]:
    """The detector takes seconds to use and is only asked where it may be hurt."""
    if file.startswith("detector") or file == "run.json":
        return list(READERS)
    return ["Run", "export", "report"]


def outcome(reader: Reader, run: Path, data: Path) -> str:
    """A digest of the content, or the error that names what is wrong."""
    from labelsieve import LabelsieveError

    try:
        content = repr(reader(run, data))
    except LabelsieveError as error:
        return f"error: {error}"
    return hashlib.sha256(content.encode()).hexdigest()


def flip(path: Path, draw: random.Random) -> str:
    """Flip one bit of a file; says which."""
    data = bytearray(path.read_bytes())
    position = draw.randrange(len(data))
    bit = draw.randrange(8)
    data[position] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {position}"


def prepare(base: Path) -> None:
    """Data, a finished scan of them with decisions, and the cache that it filled."""
    write_digits(base / "data")
    from labelsieve import Run
    from labelsieve.runs.decisions import Decisions

    ended = labelsieve(SCAN.format(base=base).split(), base / "cache")
    assert ended.code == 0, ended
    decisions = Decisions(base / "run")
    for row in Run(base / "run").scores.slice(0, 6).to_pylist():
        decisions.add(row["sample_id"], "accept", row["suggested_label"], by="attack")
    decisions.close()


def files_of(folder: Path) -> list[str]:
    """Every file that has a bit to flip."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size:
            names.append(path.relative_to(folder).as_posix())
    return names


def hurt_run(case: int, base: str, file: str, seed: int) -> None:
    """One flip in a copy of the run; raises where other content is read."""
    folder = Path(base)
    data = folder / "data"
    os.environ["LABELSIEVE_CACHE"] = str(folder / "cache")
    copy = folder / "hurt" / "run"
    shutil.rmtree(copy.parent, ignore_errors=True)
    for name in readers_of(file):
        shutil.copytree(folder / "run", copy)
        right = _right(name, copy, data)
        shutil.rmtree(copy)
        shutil.copytree(folder / "run", copy)
        where = flip(copy / file, random.Random(f"{file} {case} {seed}"))
        result = outcome(READERS[name], copy, data)
        shutil.rmtree(copy)
        if result != right and not result.startswith("error"):
            raise ValueError(f"{name} reads other content after {where} of {file}")


_known: dict[str, str] = {}


def _right(name: str, run: Path, data: Path) -> str:
    if name not in _known:
        _known[name] = outcome(READERS[name], run, data)
        if _known[name].startswith("error"):
            raise ValueError(f"{name} fails on a sound run: {_known[name]}")
    return _known[name]


def hurt_cache(case: int, base: str, file: str, seed: int) -> None:
    """One flip in a copy of the cache, then a scan; raises where its scores are others."""
    folder = Path(base)
    copy = folder / "hurt" / "cache"
    if "scores" not in _known:
        _known["scores"] = _scan(folder, folder / "cache")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "cache", copy)
    where = flip(copy / file, random.Random(f"{file} {case} {seed}"))
    result = _scan(folder, copy)
    if result != _known["scores"] and not result.startswith("error"):
        raise ValueError(f"other scores after {where} of {file}")


def _scan(folder: Path, cache: Path) -> str:
    import labelsieve

    os.environ["LABELSIEVE_CACHE"] = str(cache)
    again = folder / "again"
    shutil.rmtree(again, ignore_errors=True)

    def scores(run: Path, data: Path) -> Any:
        options = {"preset": "fast", "settings": {"epochs": 1}}
        return labelsieve.scan(data, output=run, **options).scores.to_pylist()

    return outcome(scores, again, folder / "data")


def attack(base: Path, flips: int, part: str, seed: int = 0) -> Iterator[str]:
    """Flip bits in every file of the run or of the cache; gives what was wrong."""
    work = hurt_run if part == "run" else hurt_cache
    for file in files_of(base / part):
        for case, fault in watched(work, flips, str(base), file, seed):
            yield f"{part}/{file}, flip {case}: {fault}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("parts", nargs="*", default=["run", "cache"])
    words = parser.parse_args()
    start_forking()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder).resolve()
        prepare(base)
        for part in words.parts:
            faults = 0
            for fault in attack(base, words.flips, part, words.seed):
                faults += 1
                print(" ", fault, flush=True)
            files = len(files_of(base / part))
            print(f"{part}: {faults} of {words.flips} flips in each of {files} files")


if __name__ == "__main__":
    main()
