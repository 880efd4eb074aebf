"""Kill a command at random moments and give it again: it must end as one that was left alone.

cd tests && python -m attack.kill --kills 20 scan apply reverse
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attack import scratch
from attack.children import PATIENCE, Ended, labelsieve, start_forking
from attack.samples import digits, state, write_digits
from labelsieve import registry

SCAN = "--set epochs=1 --set batch_size=16 --set views=1 -q"
TRAIN = "train run --set epochs=2 --set batch_size=8 --use all"
AUTO = "--policy auto --min-confidence 0.3"
BENCH = """
seeds = [0]
tower = [{ name = "tiny" }]
method = [{ name = "zero-shot" }, { name = "knn" }]
[[data]]
name = "photos"
path = "data"
noise = [{ kind = "symmetric", rate = 0.2 }]
"""


@dataclass(frozen=True)
class Attack:
    """One command, what it starts from and what it leaves.

    Args:
        stage: of `STAGES`, what is there before.
        words: after `labelsieve`; paths are below the working folder.
        leaves: files and folders that are compared.
        must: of these, files that an uninterrupted call always writes alike.
    """

    name: str
    stage: str
    words: str
    leaves: tuple[str, ...]
    must: tuple[str, ...] = ()
    undo: str = ""  # a command after which `data` is as it was before


def _tables() -> None:
    """The same digits as a table with paths."""
    lines = ["path,label"]
    for name, label, png in digits(30):
        Path("pictures").mkdir(exist_ok=True)
        Path("pictures", f"{name}.png").write_bytes(png)
        lines.append(f"{name}.png,{label}")
    Path("data").mkdir()
    Path("data", "table.csv").write_text("\n".join(lines) + "\n")


def _folder() -> None:
    write_digits(Path("data"))
    Path("bench.toml").write_text(BENCH)


def _texts() -> None:
    """Opinions in a table; every ninth has the other label."""
    Path("data").mkdir()
    lines = ["text,label"]
    for row in range(40):
        good = row % 2 == 1
        told = "a wonderful film that I loved" if good else "a dreadful film to avoid"
        label = "positive" if good != (row % 9 == 0) else "negative"
        lines.append(f"{told} number {row},{label}")
    Path("data", "table.csv").write_text("\n".join(lines) + "\n")


def _sets() -> None:
    """Digits with sets of labels; every third has one too many."""
    _tables()
    lines = ["path,labels"]
    for row, (name, label, _) in enumerate(digits(30)):
        lines.append(f"{name}.png,{label}{'|two' * (row % 3 == 0 and label != 'two')}")
    Path("data", "table.csv").write_text("\n".join(lines) + "\n")


TABLE = "data/table.csv --root pictures"
# Each stage starts from another one (or from a function) and adds what commands leave.
STAGES = {
    "data": (_folder, ()),
    "scanned": ("data", ("scan data -o run --method zero-shot -q",)),
    "learned": ("data", ("scan data -o run --fast --set epochs=1 -q",)),
    "listed": ("scanned", (f"apply run {AUTO} --in-place",)),
    "corrected": ("listed", (f"apply run {AUTO} --in-place --yes",)),
    "table": (_tables, (f"scan {TABLE} -o run --method zero-shot -q",)),
    "table listed": ("table", (f"apply run {AUTO} --in-place",)),
    "sets": (
        _sets,
        (f"scan {TABLE} --label-separator | -o run --method zero-shot -q",),
    ),
    "trained": ("scanned", ("train run --set epochs=1 --use all -q",)),
    "texts": (_texts, ()),
    "texts scanned": ("texts", ("scan data/table.csv -o run -q",)),
    "texts listed": ("texts scanned", (f"apply run {AUTO} --in-place",)),
    "texts trained": ("texts scanned", (f"{TRAIN} -q",)),
}
# Exports that write several labels of a picture in a way of their own.
SETS = (("csv", "out.csv"), ("coco", "out"), ("hf", "out"), ("label-studio", "out"))
SCORES = ("scores.parquet", "scores.csv", "probs.parquet", "noise.json")


def attacks() -> Iterator[Attack]:
    """Every command that writes."""
    yield Attack("scan", "data", f"scan data -o run {SCAN}", ("run",), SCORES)
    weights = ("model.safetensors", "samples.parquet", "config.json")
    yield Attack("train", "scanned", f"{TRAIN} -q", ("run/classifier",), weights)
    back = f"apply run {AUTO} --reverse --yes"
    words = f"apply run {AUTO} --in-place --yes"
    yield Attack("apply", "listed", words, ("data",), undo=back)
    yield Attack("apply table", "table listed", words, ("data",), undo=back)
    yield Attack("apply copy", "scanned", f"apply run {AUTO} -o copy", ("copy",))
    yield Attack("reverse", "corrected", back, ("data",))
    yield from _exports("images", "export", "scanned")
    words = "bench bench.toml --data-root . -o bench --jobs 1"
    yield Attack("bench", "data", words, ("bench",))
    words = "noise data --kind symmetric --rate 0.2 -o planted.parquet"
    yield Attack("noise", "data", words, ("planted.parquet",), ("planted.parquet",))
    words = "score run data -o more.parquet -q"
    yield Attack("score", "learned", words, ("more.parquet",), ("more.parquet",))
    words = "predict run/classifier data -o answers.parquet"
    yield Attack(
        "predict", "trained", words, ("answers.parquet",), ("answers.parquet",)
    )
    yield from _of_texts()
    for kind, output in SETS:
        words = f"export run --to {kind} -o {output}"
        yield Attack(f"sets export {kind}", "sets", words, (output,))


def _of_texts() -> Iterator[Attack]:
    """The same commands where the data are texts."""
    scan = "scan data/table.csv -o run -q"
    yield Attack("texts scan", "texts", scan, ("run",), SCORES)
    weights = ("model.safetensors", "samples.parquet", "config.json")
    words = f"{TRAIN} -q"
    yield Attack("texts train", "texts scanned", words, ("run/classifier",), weights)
    back = f"apply run {AUTO} --reverse --yes"
    words = f"apply run {AUTO} --in-place --yes"
    yield Attack("texts apply", "texts listed", words, ("data",), undo=back)
    words = "predict run/classifier data/table.csv -o answers.parquet"
    leaves = ("answers.parquet",)
    yield Attack("texts predict", "texts trained", words, leaves, leaves)
    yield from _exports("texts", "texts export", "texts scanned")


def _exports(items: str, name: str, stage: str) -> Iterator[Attack]:
    """Every export that is for such items."""
    for kind in registry.names("exports"):
        module = registry.load("exports", kind)
        if items in getattr(module, "ITEMS", ("images",)):
            output = "out" if module.TARGET == "folder" else f"out{module.TARGET}"
            words = f"export run --to {kind} -o {output}"
            yield Attack(f"{name} {kind}", stage, words, (output,))


class Workshop:
    """A working folder that is put back to a stage before every trial.

    Its path is always the same, since records hold absolute paths.
    """

    def __init__(self, base: Path) -> None:
        self.here = base / "here"
        self.stages = base / "stages"

    def run(self, words: str, **kill: float) -> Ended:
        return labelsieve(words.split(), self.here / "cache", **kill)  # type: ignore[arg-type]

    def reset(self, stage: str) -> None:
        """The working folder as it is at a stage, which is made when first wanted."""
        kept = self.stages / stage.replace(" ", "-")
        if not kept.exists():
            self._make(stage)
            shutil.copytree(self.here, kept)
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(kept, self.here)
        os.chdir(self.here)

    def _make(self, stage: str) -> None:
        start, commands = STAGES[stage]
        if isinstance(start, str):
            self.reset(start)
        else:
            shutil.rmtree(self.here, ignore_errors=True)
            self.here.mkdir(parents=True)
            os.chdir(self.here)
            start()
        for words in commands:
            ended = self.run(words)
            assert ended.code == 0, f"labelsieve {words}: {ended}"

    def leavings(self, attack: Attack) -> dict[str, str]:
        """Digest of everything the command is to leave."""
        digests = {}
        for name in attack.leaves:
            for file, digest in state(self.here / name).items():
                digests[file] = digest
        if attack.name == "bench":
            digests = {"figures": bench_figures(self.here / "bench")}
        return digests


def bench_figures(folder: Path) -> str:
    """What a bench says of each cell, without seconds, memory, versions and attempts."""
    import pyarrow.parquet as pq

    if not (folder / "results.parquet").exists():
        return "nothing"
    rows = []
    for row in pq.read_table(folder / "results.parquet").to_pylist():
        wanted = (
            "method",
            "noise",
            "seed",
            "status",
            "f1",
            "auroc",
            "ap",
            "realised_rate",
        )
        rows.append({name: row.get(name) for name in wanted})
    return json.dumps(sorted(rows, key=str))


def reference(
    workshop: Workshop, attack: Attack
) -> tuple[dict[str, str], Ended, float]:
    """What the command leaves that is alike in two calls, how it ends, its seconds."""
    results = []
    for _ in range(2):
        workshop.reset(attack.stage)
        begun = time.monotonic()
        ended = workshop.run(attack.words)
        seconds = time.monotonic() - begun
        assert ended.code == 0, f"labelsieve {attack.words}: {ended}"
        results.append(workshop.leavings(attack))
    first, second = results
    alike = {
        name: digest for name, digest in first.items() if second.get(name) == digest
    }
    assert alike and set(attack.must) <= set(alike), (
        f"not alike: {set(first) - set(alike)}"
    )
    return alike, ended, seconds


def strike(base: Path, name: str, kills: int, seed: int = 0) -> list[str]:
    """Kill one command so many times, each on a fresh copy; gives what was wrong."""
    attack = next(a for a in attacks() if a.name == name)
    workshop = Workshop(base)
    right, ended, seconds = reference(workshop, attack)
    draw = random.Random(f"{name} {seed}")
    faults = []
    for number in range(kills):
        workshop.reset(attack.stage)
        before = state(workshop.here / "data")
        # Every second kill hits a change of a file, the others hit whatever is going on.
        if number % 2:
            kill = {"after": draw.uniform(0, seconds)}
        else:
            kill = {"kill_at": draw.randint(1, max(1, ended.changes))}
        workshop.run(attack.words, **kill)
        fault = _check(workshop, attack, right, before)
        if fault:
            faults.append(f"{name}, kill {number} {kill}: {fault}")
    return faults


def _check(
    workshop: Workshop, attack: Attack, right: dict[str, str], before: dict[str, str]
) -> str:
    """What is wrong after the same command was given again; empty for nothing."""
    again = workshop.run(attack.words, after=PATIENCE)
    result = workshop.leavings(attack)
    different = sorted(n for n, digest in right.items() if result.get(n) != digest)
    if again.code or "Traceback" in again.err:
        return f"exit {again.code}, {again.err.strip()[-300:]}"
    if different:
        return f"other content in {different[:5]}"
    extra = sorted(set(result) - set(right))
    if any(".partial" in name for name in extra):
        return f"left behind: {extra[:5]}"
    if attack.undo:
        undone = workshop.run(attack.undo)
        if undone.code or state(workshop.here / "data") != before:
            return (
                f"not as before after {attack.undo}: {undone.code} {undone.err[-200:]}"
            )
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=[a.name for a in attacks()])
    words = parser.parse_args()
    known = [attack.name for attack in attacks()]
    for name in words.names:
        if name not in known:
            parser.error(f"'{name}' is none of: {', '.join(known)}")
    scratch.begin()
    start_forking()
    for name in words.names:
        with tempfile.TemporaryDirectory() as base:
            try:
                faults = strike(Path(base).resolve(), name, words.kills, words.seed)
            except AssertionError as error:
                faults = [f"{name}: {error}"]
            os.chdir("/")
        print(
            f"{name}: {len(faults)} of {words.kills}", *faults, sep="\n  ", flush=True
        )


if __name__ == "__main__":
    main()
