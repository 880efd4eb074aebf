"""How the grid fills its screen, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fixtures.browser import Server, Tab

pytest.importorskip("uvicorn", reason="the extra 'review' is not installed")

# Pixels between the lowest picture with its words and the bar of answers.
GAP = """() => {
  const lowest = Math.max(...[...document.querySelectorAll(".cell")].map(
    (cell) => cell.getBoundingClientRect().bottom));
  return document.querySelector(".actions").getBoundingClientRect().top - lowest;
}"""


SIZES = ((1440, 900), (1366, 700))


@pytest.fixture
def server(planted: Any) -> Iterator[Server]:
    begun = Server(planted.folder)
    yield begun
    begun.kill()


def test_the_grid_fills_its_screen_and_no_more(server: Server, chromium: Any) -> None:
    for size in SIZES:
        for order in ("pair", "suspicion"):
            tab = Tab(chromium, size)
            check_screen(tab, f"{server.address}grid?show=all&decided=any&sort={order}")
            tab.close()


def check_screen(tab: Tab, address: str) -> None:
    page = tab.go(address)
    page.wait_for_selector("#cell-0")
    page.wait_for_load_state("networkidle")
    first, last, total = page.evaluate(
        "document.querySelector('#range').textContent.match(/[0-9]+/g).map(Number)"
    )
    assert (first, total) == (1, 48) and last < total, "more than one screen"
    assert 0 <= page.evaluate(GAP) < 40, address
    assert page.evaluate("document.documentElement.scrollHeight - innerHeight") == 0
    # the next screen begins where this one ends
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "n => document.querySelector('#range').textContent.startsWith(`${n}–`)",
        arg=last + 1,
    )
    # and a step back shows what was shown
    page.keyboard.press("PageUp")
    page.wait_for_function(
        "text => document.querySelector('#range').textContent === text",
        arg=f"1–{last} of {total}",
    )
