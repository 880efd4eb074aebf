"""How the grid fills its screen, in a real browser."""

from __future__ import annotations

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


@pytest.mark.parametrize("order", ["pair", "suspicion"])
def test_the_grid_leaves_no_gap_below_its_pictures(
    planted: Any, chromium: Any, order: str
) -> None:
    server = Server(planted.folder)
    tab = Tab(chromium, (1440, 900))
    page = tab.go(f"{server.address}grid?show=all&decided=any&sort={order}")
    page.wait_for_selector("#cell-0")
    page.wait_for_load_state("networkidle")
    first, last, total = page.evaluate(
        "document.querySelector('#range').textContent.match(/[0-9]+/g).map(Number)"
    )
    assert (first, total) == (1, 48) and last < total, "more than one screen"
    assert 0 <= page.evaluate(GAP) < 40
    # the next screen begins where this one ends
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "n => document.querySelector('#range').textContent.startsWith(`${n}–`)",
        arg=last + 1,
    )
    tab.close()
    server.kill()
