"""Two commands at the same moment: each ends or refuses in words, and nothing is left half done.

cd tests && python -m attack.pairs --trials 20
"""

from __future__ import annotations

import argparse
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from attack import scratch
from attack.children import Ended, start_forking
from attack.kill import AUTO, Workshop
from attack.samples import state

IN_PLACE = f"apply run {AUTO} --in-place --yes"
OTHER = "apply run --policy auto --min-confidence 0.9 --in-place --yes"
REVERSE = f"apply run {AUTO} --reverse --yes"
SCAN = "scan data -o run --method zero-shot -q"
TRAIN = "train run --set epochs=1 --use all -q"
PREDICT = "predict run/classifier data -o answers.parquet"
NOISE = "noise data --kind symmetric --rate 0.2 -o planted.parquet"
REPORT = "report run"
# Stays until it is killed, as a browser that is left open has it.
REVIEW = "review run --no-browser"
LOOK = 6.0  # seconds that a review stays


@dataclass(frozen=True)
class Pair:
    """Two commands, what they start from, and what must work after them.

    Args:
        then: afterwards each of these ends with 0.
        back: the data are then as they were before both.
    """

    stage: str
    first: str
    second: str
    then: tuple[str, ...] = (REPORT,)
    back: bool = True


AGAIN = f"{SCAN} --force --seed 3"
PAIRS = {
    "scan, scan": Pair("data", SCAN, SCAN),
    "scan, other scan": Pair("data", SCAN, f"{SCAN} --seed 3"),
    "scan, scan again": Pair("scanned", AGAIN, f"{SCAN} --force --seed 4"),
    "apply, apply": Pair("listed", IN_PLACE, IN_PLACE, (REVERSE,)),
    "apply, other apply": Pair("listed", IN_PLACE, OTHER, (REVERSE,)),
    "apply, reverse": Pair("listed", IN_PLACE, REVERSE, (REVERSE,)),
    "reverse, reverse": Pair("corrected", REVERSE, REVERSE, (REPORT,), back=False),
    "apply, scan again": Pair("listed", IN_PLACE, AGAIN, (), back=False),
    "review, apply": Pair("listed", REVIEW, IN_PLACE, (REVERSE,)),
    "review, report": Pair("scanned", REVIEW, REPORT),
    "review, scan again": Pair("scanned", REVIEW, AGAIN),
    "review, train": Pair("scanned", REVIEW, TRAIN, (TRAIN, PREDICT)),
    "report, report": Pair("scanned", REPORT, REPORT),
    "report, scan again": Pair("scanned", REPORT, AGAIN),
    "export, apply": Pair(
        "listed", "export run --to coco -o out", IN_PLACE, (REVERSE,)
    ),
    "export, export": Pair(
        "scanned", "export run --to coco -o out", "export run --to yolo -o out"
    ),
    "copy, copy": Pair(
        "scanned",
        f"apply run {AUTO} -o copy",
        "apply run --policy auto --min-confidence 0.9 -o copy",
    ),
    "train, train": Pair("scanned", TRAIN, TRAIN, (PREDICT,)),
    "predict, train": Pair("trained", PREDICT, f"{TRAIN} --force", (PREDICT,)),
    "noise, scan": Pair("data", NOISE, SCAN, (NOISE, REPORT)),
    "noise, noise": Pair("data", NOISE, NOISE.replace("0.2", "0.4"), ()),
    "table apply, apply": Pair("table listed", IN_PLACE, OTHER, (REVERSE,)),
}


def both(workshop: Workshop, pair: Pair, delay: float) -> tuple[Ended, Ended]:
    """The second begins so many seconds after the first."""

    def one(words: str, wait: float) -> Ended:
        time.sleep(wait)
        if words == REVIEW:
            return workshop.run(words, after=LOOK)
        return workshop.run(words)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(one, pair.first, max(0.0, -delay))
        second = threads.submit(one, pair.second, max(0.0, delay))
        return first.result(), second.result()


def fault(workshop: Workshop, pair: Pair, delay: float) -> str:
    """What is wrong after one trial; empty for nothing."""
    workshop.reset(pair.stage)
    data = workshop.here / "data"
    before = state(data)
    ended = both(workshop, pair, delay)
    for words, end in zip((pair.first, pair.second), ended, strict=True):
        fine = end.code in (0, 2) or (words == REVIEW and end.code == -9)
        if not fine or "Traceback" in end.err or "No such option" in end.err:
            return f"{words}: exit {end.code}, {end.err.strip()[-400:]}"
    if all(end.code == 2 for end in ended):
        return f"both refused: {[end.err.strip()[-200:] for end in ended]}"
    for words in pair.then:
        end = workshop.run(words)
        # what nobody applied in the end, or only the other one, needs no way back
        undone = words == REVERSE and state(data) == before
        if (end.code and not undone) or "Traceback" in end.err:
            return f"then {words}: exit {end.code}, {end.err.strip()[-400:]}"
    if pair.back and state(data) != before:
        return f"data are not as before; exits {[end.code for end in ended]}"
    left = [p.name for p in workshop.here.rglob("*partial*")]
    return f"left behind: {left}" if left else ""


def strike(base: Path, name: str, trials: int, seed: int = 0) -> list[str]:
    """So many trials of one pair, each on a fresh copy; gives what was wrong."""
    workshop = Workshop(base)
    draw = random.Random(f"{name} {seed}")
    faults = []
    for number in range(trials):
        delay = draw.uniform(-0.6, 0.6) if number % 2 else 0.0
        found = fault(workshop, PAIRS[name], delay)
        if found:
            faults.append(f"{name}, trial {number}, {delay:.2f} s apart: {found}")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=list(PAIRS))
    words = parser.parse_args()
    base = scratch.begin()
    start_forking()
    for name in words.names:
        if name not in PAIRS:
            parser.error(f"'{name}' is none of: {', '.join(PAIRS)}")
    for number, name in enumerate(words.names):
        found = strike(base / f"pair-{number}", name, words.trials, words.seed)
        print(f"{name}: {len(found)} of {words.trials}", *found, sep="\n  ", flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
