"""A person at the review page, played by a script in a real browser: keys and seconds.

    python benchmarks/bench_workbench.py [--map 100000] [--former FOLDER]

Four hundred of scikit-learn's digits with 30 wrong labels are scanned with the demo model. The
script knows the truth and finds and corrects the errors by keyboard alone: in the card, the grid
and the map, each on a fresh copy of the run; it reads the page and nothing else. Then 100 decisions
in each view, and with --map the times of frames of a map of so many points. With --former the same
run is also judged on the page of another version, unpacked into a folder (`git archive 4449f79` is
the last one before there was a workbench: one key an image, one page). Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_review import Server, synthetic_run
from timing import machine, table

PHOTOS = 400
WRONG = 30
SEED = 3
SCREEN = {"width": 1440, "height": 900}
DECISIONS = 100
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
# notes when each frame is shown, until it is told to stop
WATCH = """() => { const times = window.frames = []; window.watching = true;
  const step = now => { times.push(now); if (window.watching) requestAnimationFrame(step); };
  requestAnimationFrame(step); }"""
SEEN = "() => { window.watching = false; return window.frames; }"
DRAWN = "Number(document.querySelector('#plane').dataset.ms)"
MOVES = 90  # of the mouse in one drag, or turns of its wheel


def digits_with_errors(folder: Path) -> dict[str, str]:
    """Class folders with planted errors; the truth by path below `folder`."""
    from PIL import Image
    from sklearn.datasets import load_digits

    images, truth = load_digits(return_X_y=True)
    random = np.random.default_rng(SEED)
    rows = random.choice(len(truth), PHOTOS, replace=False)
    wrong = set(rows[:WRONG].tolist())
    true_of = {}
    for row in rows.tolist():
        right = int(truth[row])
        label = (right + int(random.integers(1, 10))) % 10 if row in wrong else right
        name = f"{WORDS[label]}/{row:04d}.png"
        pixels = np.uint8(255 - images[row].reshape(8, 8) * 255 / 16)
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(file)
        true_of[name] = WORDS[right]
    return true_of


class Person:
    """Counts keys in a tab, and knows what pictures show."""

    def __init__(self, page: Any, true_of: dict[str, str]) -> None:
        self.page = page
        self.true_of = true_of
        self.keys = 0
        self.waits: list[float] = []

    def press(self, key: str, until: str = "", arg: Any = None) -> None:
        self.keys += len(key.split("+")) if key != "+" else 1
        start = time.perf_counter()
        self.page.keyboard.press(key)
        if until:
            self.page.wait_for_function(until, arg=arg, polling=5)
            self.waits.append(time.perf_counter() - start)

    def type(self, words: str) -> None:
        self.keys += len(words)
        self.page.keyboard.type(words)


NEXT = """before => !document.body.classList.contains('busy')
  && document.querySelector('#stage').dataset.id !== before"""


def by_card(person: Person, decisions: int | None = None) -> None:
    """Every suspect in turn: right, accept, its class."""
    page = person.page
    while decisions is None or len(person.waits) < decisions:
        stage = page.locator("#stage")
        before = stage.get_attribute("data-id")
        if not before:
            return
        true = person.true_of[before.rpartition("#")[0]]
        given = page.locator(".label.given").first.inner_text()
        accept = page.locator("#accept b")
        offered = accept.inner_text() if accept.count() else ""
        key = "k" if true == given else "a" if true == offered else ""
        if not key:
            button = page.locator(f'[data-class="{true}"]')
            key = button.get_attribute("data-key") if button.count() else ""
        if not key:
            person.press("o")
            person.type(true)
            key = "Enter"
        person.press(key, NEXT, before)


def by_former(person: Person, decisions: int | None = None) -> None:
    """The page before the workbench: the suspect in turn, by the same rules as `by_card`."""
    page = person.page
    changed = "before => document.querySelector('#stage').dataset.id !== before"
    while decisions is None or len(person.waits) < decisions:
        before = page.locator("#stage").get_attribute("data-id")
        if not before:
            return
        true = person.true_of[before.rpartition("#")[0]]
        given = page.locator(".question .label").first.inner_text()
        accept = page.locator("#accept b")
        offered = accept.inner_text() if accept.count() else ""
        key = "k" if true == given else "a" if true == offered else ""
        if not key:
            person.press("o")
            person.type(true)
            key = "Enter"
        person.press(key, changed, before)


CELLS = """() => [...document.querySelectorAll('.cell')].map(c => ({
  path: c.title.split('\\n')[0], given: c.querySelector('.given').textContent,
  offered: c.querySelector('.right')?.textContent ?? '',
  settled: c.classList.contains('settled')}))"""
AT = "[...document.querySelectorAll('.cell')].findIndex(c => c.matches('.marked'))"
SAVED = "n => document.querySelectorAll('.cell.settled').length >= n"


def by_grid(person: Person, decisions: int | None = None) -> None:
    """Screen by screen: wrong ones are marked, those with a right suggestion accepted at once."""
    page = person.page
    done = 0
    while page.locator(".cell").count() and (decisions is None or done < decisions):
        cells = page.evaluate(CELLS)
        at = 0
        wrong = [
            (n, c)
            for n, c in enumerate(cells)
            if person.true_of[c["path"]] != c["given"]
        ]
        good = [n for n, c in wrong if person.true_of[c["path"]] == c["offered"]]
        other = [n for n, _ in wrong if n not in good]
        settled = 0
        # where most suggestions are right, all are marked and the exceptions taken out
        most = 2 * len(good) > len(cells)
        if most:
            person.press("Control+a")
        for number in range(len(cells)):
            if (number in good) != most:
                at = walk(person, at, number)
                person.press("Space")
        if good:
            settled += len(good)
            person.press("a", SAVED, settled)
        for number in other:
            at = walk(person, at, number)
            true = person.true_of[cells[number]["path"]]
            quick = page.locator(f'#quick [data-label="{true}"] kbd')
            settled += 1
            if quick.count():
                person.press(quick.inner_text(), SAVED, settled)
            else:
                person.press("o")
                person.type(true)
                person.press("Enter", SAVED, settled)
            # the mark goes to the next open image by itself
            at = page.evaluate(AT)
        done += len(cells)
        first = cells[0]["path"]
        changed = "p => document.querySelector('.cell')?.title.split('\\n')[0] !== p"
        person.press("r", changed, first)


def walk(person: Person, at: int, to: int) -> int:
    """Arrows from one cell to another: rows first."""
    columns = person.page.evaluate(
        "getComputedStyle(document.querySelector('#grid')).gridTemplateColumns.split(' ').length"
    )
    down, right = to // columns - at // columns, to % columns - at % columns
    for _ in range(abs(down)):
        person.press("ArrowDown" if down > 0 else "ArrowUp")
    for _ in range(abs(right)):
        person.press("ArrowRight" if right > 0 else "ArrowLeft")
    return to


MARKED = """before => document.querySelector('#side-path').textContent !== before"""


def by_map(person: Person, decisions: int | None = None) -> None:
    """From suspect to suspect with the arrow, and the same keys as in the card."""
    page = person.page
    page.wait_for_selector("#atlas[data-ready]")
    left = (
        "Number(document.querySelector('#progress p b')?.textContent.replace(',', ''))"
    )
    person.press("ArrowRight", MARKED, "")
    while page.evaluate(left) and (decisions is None or len(person.waits) <= decisions):
        path = page.locator("#side-path").inner_text()
        true = person.true_of[path]
        given = page.locator("#side-question .given").inner_text()
        offered = page.locator("#side-offered").inner_text()
        last = page.evaluate(left) == 1
        until = f"() => {left} === 0" if last else MARKED
        if true in (given, offered):
            person.press("k" if true == given else "a", until, path)
        else:
            person.press("o")
            person.type(true)
            person.press("Enter", until, path)


VIEWS: dict[str, tuple[str, Callable[..., None]]] = {
    "card": ("?", by_card),
    "grid": ("grid?", by_grid),
    "map": ("map?", by_map),
}


FORMER = {"former page": ("?", by_former)}


def missed(run: Any, true_of: dict[str, str]) -> str:
    """Planted errors that the scan did not flag, traced by path."""
    names = ("path", "given_label", "is_label_issue")
    rows = zip(*(run.scores[name].to_pylist() for name in names), strict=True)
    of_flagged = [flagged for path, given, flagged in rows if true_of[path] != given]
    return f"of {len(of_flagged)} errors {of_flagged.count(False)} are not among them"


def corrected(folder: Path, true_of: dict[str, str]) -> int:
    from labelsieve.runs.decisions import Decisions

    found = Decisions(folder)
    right = 0
    for sample_id, decision in found.all_current().items():
        path = sample_id.rpartition("#")[0]
        wrong = path.partition("/")[0] != true_of[path]
        right += wrong and decision.label == true_of[path]
    found.close()
    return right


def sessions(
    browser: Any,
    base: Path,
    folder: Path,
    true_of: dict[str, str],
    former: Path | None = None,
) -> None:
    """Keys and seconds of each view; and how long 100 decisions of all images take."""
    rows: list[list[object]] = []
    views = {**(FORMER if former else {}), **VIEWS}
    for many in (None, DECISIONS):
        for name, (address, play) in views.items():
            copy = base / f"{name}-{many}"
            shutil.copytree(folder, copy)
            server = Server(copy, former if name in FORMER else None)
            page = browser.new_page(viewport=SCREEN)
            # both ways of asking for all images: each page knows its own
            show = "&show=all&everything=1" if many else ""
            page.goto(server.address + address + show)
            page.wait_for_load_state("networkidle")
            person = Person(page, true_of)
            start = time.perf_counter()
            play(person, many)
            seconds = time.perf_counter() - start
            rows.append(
                [
                    name,
                    "all images, 100 decisions" if many else "30 errors of 400",
                    corrected(copy, true_of),
                    person.keys,
                    f"{seconds:.1f}",
                    f"{1000 * statistics.median(person.waits):.0f}",
                    f"{1000 * max(person.waits):.0f}",
                ]
            )
            page.close()
            server.process.kill()
    head = ["view", "task", "corrected", "keys", "seconds", "median ms", "worst ms"]
    table("By keyboard alone", head, rows)


def motion(page: Any, name: str, x: float, y: float) -> list[list[object]]:
    """Frames while a real mouse drags the map or turns its wheel: intervals, and drawing alone."""
    page.mouse.move(x, y)
    if name != "wheel":
        page.mouse.down()
    page.evaluate(WATCH)
    drawn = []
    for step in range(MOVES):
        if name == "wheel":
            page.mouse.wheel(0, -60 if step < MOVES / 2 else 60)
        else:
            page.mouse.move(x + 4 * step % 200, y + 2 * step % 100)
        drawn.append(page.evaluate(DRAWN))
    times = page.evaluate(SEEN)
    page.mouse.up()
    between = np.diff(times)
    rate = 1000 * len(between) / (times[-1] - times[0])
    rows: list[list[object]] = []
    for what, values in (("drawing a frame", drawn), ("between frames", between)):
        median, worst = f"{np.median(values):.1f}", f"{max(values):.1f}"
        rows.append([f"{name}: {what}", median, worst])
    rows.append([f"{name}: {rate:.0f} frames a second", "", ""])
    return rows


def map_frames(browser: Any, base: Path, points: int) -> None:
    """Milliseconds between frames while the map is dragged; of hover, and of a lasso."""
    from labelsieve.features.projection import Projection, _write
    from labelsieve.runs.run import Run

    folder = synthetic_run(base / "map", points, 16)
    opened = Run(folder)
    random = np.random.default_rng(SEED)
    middle = random.uniform(0.1, 0.9, (10, 2))[random.integers(10, size=points)]
    places = (middle + random.normal(0, 0.05, (points, 2))).clip(0, 1)
    _write(
        Projection(opened.manifest["sample_id"].combine_chunks(), places, "PCA"), opened
    )
    server = Server(folder)
    page = browser.new_page(viewport=SCREEN)
    start = time.perf_counter()
    page.goto(server.address + "map")
    page.wait_for_selector("#atlas[data-ready]", timeout=120_000)
    rows: list[list[object]] = [
        ["open", f"{1000 * (time.perf_counter() - start):.0f}", ""]
    ]
    box = page.locator("#plane").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    rows += motion(page, "drag", x, y)
    for _ in range(4):
        page.keyboard.press("+")
    rows += motion(page, "drag, nearer", x, y)
    page.keyboard.press("0")
    rows += motion(page, "wheel", x, y)
    page.keyboard.press("0")
    # a point under the pointer: pictures far from all points show nothing
    hovers = []
    for step in range(15):
        page.mouse.move(x - 5, y - 300 + 5 * step)
        start = time.perf_counter()
        page.mouse.move(x - 150 + 20 * step, y - 100)
        try:
            page.wait_for_function(
                "!document.querySelector('#hover').hidden", timeout=1500, polling=5
            )
        except Exception:
            continue
        hovers.append(1000 * (time.perf_counter() - start))
    rows.append(
        [
            "hover to picture",
            f"{statistics.median(hovers or [0]):.0f}",
            f"{max(hovers, default=0):.0f}",
        ]
    )
    page.keyboard.press("l")
    page.mouse.move(x - 200, y - 200)
    page.mouse.down()
    for dx, dy in ((200, -200), (200, 200), (-200, 200), (-200, -190)):
        page.mouse.move(x + dx, y + dy, steps=8)
    start = time.perf_counter()
    page.mouse.up()
    page.wait_for_selector("#caught:not([hidden])", timeout=60_000)
    rows.append(
        [
            f"lasso: {page.locator('#caught-count').inner_text()}",
            f"{1000 * (time.perf_counter() - start):.0f}",
            "",
        ]
    )
    table(f"Map of {points:,} points", ["action", "median ms", "worst ms"], rows)
    page.close()
    server.process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--former", type=Path, help="checkout of another version")
    parser.add_argument("--map", type=int, default=0, help="points of a map")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from labelsieve.pipeline.scan import scan

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        base = Path(temporary)
        os.environ["LABELSIEVE_CACHE"] = str(base / "cache")
        browser = playwright.chromium.launch(
            executable_path=program, args=FLAGS.split()
        )
        print(machine())
        if options.map:
            map_frames(browser, base, options.map)
        else:
            true_of = digits_with_errors(base / "data")
            run = scan(base / "data", output=base / "run", model="tiny")
            flagged = int(np.count_nonzero(run.scores["is_label_issue"].to_numpy()))
            print(f"{flagged} of {PHOTOS} are flagged; {missed(run, true_of)}")
            sessions(browser, base, base / "run", true_of, options.former)
        browser.close()


if __name__ == "__main__":
    main()
