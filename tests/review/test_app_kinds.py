"""Sets of labels, texts and reports in a real browser: keys, accessibility, and no complaint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.browser import LOOKS, Server, Tab
from fixtures.sets import mosaics_of_digits

import labelsieve as ls
from labelsieve.pipeline import demo
from labelsieve.report.page import make
from labelsieve.runs.decisions import Decisions

pytest.importorskip("uvicorn", reason="the extra 'review' is not installed")

MANY = 110  # items of each run: a hundred are decided
FEW = 24  # decided in each view by default; with -m slow a hundred
HUNDRED = 100


def sets(folder: Path, digits: Any) -> None:
    """Mosaics of digits with sets of labels, some wrong, as files and a table."""
    import pyarrow as pa
    from PIL import Image

    from labelsieve.tables import write_parquet

    images, _, given = mosaics_of_digits(digits, MANY)
    (folder / "data").mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / "data" / f"{number:03d}.png")
    names = [f"{number:03d}.png" for number in range(MANY)]
    labels = [sorted(each) for each in given]
    table = pa.table({"image": names, "label": labels})
    write_parquet(table, folder / "data" / "labels.parquet")
    source = ls.load(
        folder / "data" / "labels.parquet",
        template="a handwritten digit {}.",
    )
    ls.scan(source, output=folder / "run", settings={"texts": 200, "epochs": 2})


def texts(folder: Path, digits: Any) -> None:
    """Notes of the demo, some labelled wrongly, as a table."""
    from labelsieve.tables import write_parquet

    write_parquet(demo.texts().slice(0, MANY), folder / "notes.parquet")
    source = ls.load(
        folder / "notes.parquet", text_column="text", label_column="planted_label"
    )
    ls.scan(source, output=folder / "run", model="hashing")


KINDS: dict[str, Callable[[Path, Any], None]] = {"sets": sets, "texts": texts}


@pytest.fixture(scope="module")
def scanned(
    tmp_path_factory: pytest.TempPathFactory, digits: Any, own_cache: Path
) -> dict[str, Path]:
    """A run folder of each kind."""
    folders = {}
    for kind, write in KINDS.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        write(folders[kind], digits)
    return {kind: folder / "run" for kind, folder in folders.items()}


@pytest.fixture(params=sorted(KINDS))
def run(request: Any, scanned: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a run that nobody decided anything about."""
    shutil.copytree(scanned[request.param], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    running = Server(run)
    yield running
    running.kill()


def decided(run: Path) -> int:
    found = Decisions(run)
    count = len(found.all_current())
    found.close()
    return count


CARD = """before => document.querySelector('#stage').dataset.id !== before
  && !document.body.classList.contains('busy')"""


def on_cards(page: Any, wanted: int) -> None:
    for number in range(wanted):
        before = page.get_attribute("#stage", "data-id")
        page.keyboard.press("kank"[number % 4])
        page.wait_for_function(CARD, arg=before)


SETTLED = "n => document.querySelectorAll('.cell.settled').length >= n"


PATH = "document.querySelector('#cell-0')?.title.split('\\n')[0]"


def on_the_grid(page: Any, wanted: int) -> None:
    page.wait_for_selector(".cell")
    count = 0
    while count < wanted and page.locator(".cell").count():
        cells = page.locator(".cell").count()
        # a title ends with probabilities, which answers change
        first = page.evaluate(PATH)
        # some by their keys, and the rest of the screen as right
        for number in range(min(6, cells)):
            page.keyboard.press("kan"[number % 3])
            page.wait_for_function(SETTLED, arg=number + 1)
        page.keyboard.press("r")
        page.wait_for_function(f"before => {PATH} !== before", arg=first)
        count += cells


def on_the_map(page: Any, wanted: int) -> None:
    page.wait_for_selector("#atlas[data-ready]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#side-buttons:not([hidden])")
    for number in range(wanted):
        before = page.text_content("#side-path")
        key = "kan"[number % 3]
        if key == "a" and page.is_hidden("[data-act=accept]"):
            key = "k"
        page.keyboard.press(key)
        page.wait_for_function(
            "p => document.querySelector('#side-path').textContent !== p", arg=before
        )


# the grid last: it answers whole screens
VIEWS = {"?": on_cards, "map?": on_the_map, "grid?": on_the_grid}


# a few in all views on one server; a hundred in each on its own
CASES = [
    (FEW, tuple(VIEWS)),
    *(pytest.param(HUNDRED, (view,), marks=pytest.mark.slow) for view in VIEWS),
]


@pytest.mark.parametrize(("wanted", "views"), CASES)
def test_many_are_decided_by_keyboard(
    run: Path, chromium: Any, server: Server, wanted: int, views: tuple[str, ...]
) -> None:
    tab = Tab(chromium, (1440, 900))
    for view in views:
        before = decided(run)
        page = tab.go(f"{server.address}{view}show=all")
        VIEWS[view](page, wanted)
        assert decided(run) >= before + wanted, view
    tab.close()


@pytest.mark.parametrize("looks", LOOKS)
def test_pages_and_reports_are_accessible_and_fit(
    run: Path, chromium: Any, server: Server, looks: list[Any]
) -> None:
    pytest.importorskip("axe_playwright_python")
    report = make(run).as_uri()
    for scheme, size in looks:
        look_at(chromium, server, report, (scheme, size))


def look_at(
    chromium: Any, server: Server, report: str, look: tuple[str, tuple[int, int]]
) -> None:
    scheme, size = look
    tab = Tab(chromium, size, color_scheme=scheme, bypass_csp=True)
    for name in ("", "grid", "grid?sort=pair", "map", "audit", "history?w=x"):
        page = tab.go(server.address + name)
        assert tab.violations() == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    page = tab.go(report)
    page.wait_for_selector("html[data-charts=drawn]")
    assert tab.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.close()
