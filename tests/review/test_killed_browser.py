"""Two people decide in browsers of their own, and the server is killed in the midst of it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any
from urllib.parse import parse_qs

import pytest
from fixtures.browser import Server, Tab

from labelsieve.runs.decisions import Decisions

pytest.importorskip("uvicorn", reason="the extra 'review' is not installed")

# Presses one key after the other in the page itself, so that both pages are at it at once.
PRESSES = """keys => {
  let number = 0;
  setInterval(() => {
    if (document.body.classList.contains("busy")) return;
    const key = keys[number++ % keys.length];
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  }, 15);
}"""


class Person:
    """A browser of one's own, and what the server has acknowledged to it."""

    def __init__(self, chromium: Any, address: str) -> None:
        self.tab = Tab(chromium)
        self.acknowledged: dict[str, str] = {}
        self.page = self.tab.go(address)
        self.page.on("response", self._hear)

    def _hear(self, response: Any) -> None:
        request = response.request
        if request.method != "POST" or not request.url.endswith("/decide"):
            return
        if response.ok:
            form = parse_qs(request.post_data)
            self.acknowledged[form["sample_id"][0]] = form["verdict"][0]


def test_what_two_browsers_were_told_is_saved_outlives_a_killed_server(
    planted: Any, chromium: Any
) -> None:
    server = Server(planted.folder)
    people = [Person(chromium, f"{server.address}?show=all") for _ in (0, 1)]
    for person, keys in zip(people, ("kn", "nsk"), strict=True):
        person.page.evaluate(PRESSES, keys)
    while min(len(person.acknowledged) for person in people) < 2:
        people[0].page.wait_for_timeout(5)
    # both go on pressing keys, and know nothing of it
    os.kill(server.process.pid, signal.SIGKILL)
    for person in people:
        person.page.wait_for_selector("#trouble:not([hidden])")
        assert "was not saved" in person.page.inner_text("#trouble")
    server.process.communicate()
    one, two = (person.acknowledged for person in people)
    assert not one.keys() & two.keys(), "both were asked about the same image"
    saved = one | two
    kept = Decisions(planted.folder)
    on_disk = {i: d.verdict for i, d in kept.all_current().items()}
    kept.close()
    assert saved.items() <= on_disk.items()
    # what was written and not acknowledged any more is at most one answer of each
    assert len(on_disk) <= len(saved) + 2
    assert_shown(planted, people[0], saved)
    for person in people:
        person.tab.context.close()


def assert_shown(planted: Any, person: Person, saved: dict[str, str]) -> None:
    """After a restart a browser sees every answer, and is asked about something else."""
    again = Server(planted.folder)
    page = person.tab.go(f"{again.address}?show=all")
    assert page.get_attribute("#stage", "data-id") not in saved
    address = f"{again.address}cells?show=all&decided=any&count=100&w=x"
    cells = json.loads(page.evaluate("async a => (await fetch(a)).text()", address))
    assert sum(bool(cell.get("decided")) for cell in cells["cells"]) >= len(saved)
    again.kill()
