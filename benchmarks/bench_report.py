"""The report of a run with many flagged photos: its size, and seconds in a browser.

    python benchmarks/bench_report.py [--flagged 10000]

The photos are pieces of the two that scikit-learn brings, of many sizes and shapes: their texture
takes the bytes that photos take. Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_review import synthetic_run
from bench_startup import NAMES
from bench_workbench import FLAGS
from timing import machine, table

PHOTOS = (
    1500  # files; rows share them, and each is encoded anew for its place in the list
)
MOST_MB = 25.0
REPEATS = 8


def photos(folder: Path, count: int) -> None:
    """Pieces of two photos in ten class folders, 150 to 400 pixels a side, as JPEG."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    wholes = [Image.fromarray(array) for array in load_sample_images().images]
    for number in range(count):
        whole = wholes[number % len(wholes)]
        width, height = random.integers(150, 400, 2).tolist()
        left = int(random.integers(0, whole.width - width))
        top = int(random.integers(0, whole.height - height))
        piece = whole.crop((left, top, left + width, top + height))
        file = folder / NAMES[number % len(NAMES)] / f"{number:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        piece.save(file, quality=90)


def in_a_browser(path: Path) -> list[list[object]]:
    """Milliseconds until the first cards can be seen, and of what a reader does with them."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=FLAGS.split()
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        start = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit")
        page.wait_for_function("document.querySelector('#cards .card img')?.complete")
        rows: list[list[object]] = [["open", *milliseconds([start])]]
        rows.append(["all of it, charts included", *charts_after(page, start)])
        for name, script in ACTIONS.items():
            times = [page.evaluate(TIMED % script, number) for number in range(REPEATS)]
            rows.append([name, f"{statistics.median(times):.0f}", f"{max(times):.0f}"])
        print(f"Chromium's console: {len(troubles)} lines {troubles[:3] or ''}")
        browser.close()
    return rows


def milliseconds(starts: list[float]) -> tuple[str, str]:
    return f"{1000 * (time.perf_counter() - starts[0]):.0f}", ""


def charts_after(page: Any, start: float) -> tuple[str, str]:
    page.wait_for_load_state("load")
    page.wait_for_selector("svg")
    return milliseconds([start])


# from an input until the cards are laid out
TIMED = """number => { const form = document.getElementById('tools'), start = performance.now();
  const $ = (id) => document.getElementById(id);
  const changed = (e) => e.dispatchEvent(new Event('input', { bubbles: true }));
  %s; document.body.offsetHeight; return performance.now() - start; }"""
ACTIONS = {
    "filter by a class": "form.given.selectedIndex = number + 1; changed(form.given)",
    "all classes again": "form.given.value = ''; changed(form.given)",
    "part of a path": "form.text.value = '0' + number; changed(form.text)",
    "without it": "form.text.value = ''; changed(form.text)",
    "sort": "form.sort.selectedIndex = 1 + number % 4; changed(form.sort)",
    "next page": "$('after').click()",
    "enlarge, and close": "document.querySelector('.shot').click(); $('zoom').close()",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flagged", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="folder to work in, and to keep")
    options = parser.parse_args()
    from labelsieve.report.page import make

    with tempfile.TemporaryDirectory() as temporary:
        base = options.keep or Path(temporary)
        os.environ["LABELSIEVE_CACHE"] = str(base / "cache")
        rows = options.flagged * 2
        if not (base / "run").exists():
            photos(base / "data", PHOTOS)
            p_wrong = np.linspace(0.999, 0.001, rows + 1)[:-1]
            synthetic_run(base, rows, 64, p_wrong)
        print(machine())
        start = time.perf_counter()
        path = make(base / "run", everything=True)
        seconds = time.perf_counter() - start
        sizes = [
            p.stat().st_size / 1e6 for p in sorted(path.parent.glob("report*.html"))
        ]
        print(
            f"{options.flagged:,} flagged photos: report.html {sizes[0]:.1f} MB "
            f"(at most {MOST_MB:.0f}), {len(sizes) - 1} files beside it, {seconds:.0f} s"
        )
        table("In Chromium", ["action", "median ms", "worst ms"], in_a_browser(path))


if __name__ == "__main__":
    main()
