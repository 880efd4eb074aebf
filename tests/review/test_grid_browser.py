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


def test_keys_pass_on_and_overwrite_nothing_unasked(
    server: Server, chromium: Any
) -> None:
    tab = Tab(chromium, (700, 520))
    page = tab.go(server.address + "grid?show=all")
    page.wait_for_selector("#cell-0")
    shown = page.locator(".cell").count()
    # past the last one comes the next screen, and before the first the one before
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(RANGE, arg=shown + 1)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(RANGE, arg=1)
    page.wait_for_selector(f"#cell-{shown - 1}.marked")
    # the mark goes to the first one that nobody judged, and passes over what was judged
    press(page, "k", "1 answer saved")
    page.wait_for_selector("#cell-0.marked")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("End")
    press(page, "n", "Decided already: the label is right")
    assert "right" in page.inner_text(f"#cell-{shown - 1} .state"), "not yet"
    press(page, "n", "1 answer saved.")
    page.wait_for_selector(f"#cell-{shown - 1} .state:text-is('no class fits')")
    # of many, what was judged stays as it is
    page.keyboard.press("Control+a")
    page.click(f"#cell-{shown - 1}")
    press(page, "k", f"{shown - 1} answers saved; 1 decided before stays as it is.")
    page.wait_for_selector("#cell-0.kept")
    assert page.inner_text(f"#cell-{shown - 1} .state") == "no class fits"
    tab.close()


RANGE = (
    """first => document.querySelector("#range").textContent.startsWith(`${first}–`)"""
)


def press(page: Any, key: str, said: str) -> None:
    page.keyboard.press(key)
    words = "said => document.querySelector('#notice').textContent.startsWith(said)"
    page.wait_for_function(words, arg=said)
