"""The review page as a process of its own, most of it driven by a real browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from labelsieve.runs.decisions import Decisions

pytest.importorskip("uvicorn", reason="the extra 'review' is not installed")


def on_disk(planted: Any) -> dict[str, tuple[str, str | None]]:
    return {
        i: (d.verdict, d.label)
        for i, d in Decisions(planted.folder).all_current().items()
    }


class Server:
    """`labelsieve review` as a process of its own."""

    def __init__(self, folder: Any) -> None:
        words = [
            sys.executable,
            "-m",
            "labelsieve",
            "review",
            str(folder),
            "--no-browser",
        ]
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def server(planted: Any) -> Iterator[Server]:
    running = Server(planted.folder)
    yield running
    running.kill()


def test_a_keyboard_session_in_a_browser(
    planted: Any, chromium: Any, server: Server
) -> None:
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(90_000)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda m: troubles.append(m.text))
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.goto(server.address + "?everything=1")
    assert page.locator("h1").count() == 1 and page.locator("#main").count() == 1

    def shown(where: Any = page) -> str:
        return str(where.get_attribute("#stage", "data-id"))

    def press(key: str, where: Any = page) -> None:
        before = shown(where)
        where.keyboard.press(key)
        where.wait_for_function(
            "before => document.querySelector('#stage').dataset.id !== before"
            " && !document.body.classList.contains('busy')",
            arg=before,
        )

    expected: dict[str, str] = {}
    for number in range(30):
        sample_id = shown()
        if number % 5 == 3:
            page.keyboard.press("o")
            page.keyboard.type("tw")
            press("Enter")  # at once: the list may still be on its way
            expected[sample_id] = (
                "keep" if planted.given[sample_id] == "two" else "other"
            )
        else:
            key, verdict = (
                ("k", "keep"),
                ("a", "accept"),
                ("n", "none"),
                ("", ""),
                ("s", "skip"),
            )[number % 5]
            press(key)
            agreed = (
                verdict == "accept"
                and planted.given[sample_id] == planted.truth[sample_id]
            )
            expected[sample_id] = "keep" if agreed else verdict
    assert {i: v for i, (v, _) in on_disk(planted).items()} == expected
    last = list(expected)[-1]
    press("u")
    assert shown() == last and last not in on_disk(planted)

    page.focus(
        "#keep"
    )  # whoever goes from button to button stays there, and hears what is asked next
    press("Enter")
    expected[last] = "keep"
    assert page.evaluate("document.activeElement.id") == "keep"
    assert page.inner_text("#said").startswith("labelled ")
    page.keyboard.press("o")
    page.wait_for_selector("#options [role=option]")
    assert page.get_attribute("#other", "aria-activedescendant") == "option-0"
    page.keyboard.press("Escape")
    assert (
        page.get_attribute("#other", "aria-activedescendant") is None
    )  # what it named is gone

    other = context.new_page()
    other.goto(server.address + "?everything=1")
    assert shown(other) != shown()
    mine, theirs = shown(), shown(other)
    press("k")
    press("n", other)
    assert on_disk(planted)[mine][0] == "keep" and on_disk(planted)[theirs][0] == "none"

    assert troubles == []
    server.kill()  # nothing that was answered is lost, and the page says that the server is gone
    before = on_disk(planted)
    page.keyboard.press("k")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "was not saved" in page.inner_text("#trouble")
    server.__init__(planted.folder)  # type: ignore[misc]
    page.goto(server.address)
    assert on_disk(planted) == before and len(before) == 32
    assert page.evaluate("window.hacked") is None
    context.close()


def test_bulk_and_audit_in_a_browser(
    planted: Any, chromium: Any, server: Server
) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 800}, color_scheme="dark"
    )
    context.set_default_timeout(90_000)
    page = context.new_page()
    page.goto(server.address)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("summary:text('Filter and bulk')")
    pair = (
        page.input_value("#bulk-form input[name=given]"),
        page.input_value("#bulk-form input[name=suggested]"),
    )
    page.click("button:text('Look at them')")
    page.click("#confirm")
    page.wait_for_selector("#stage")
    page.wait_for_load_state("load")  # keys mean something once the script has run
    accepted = {i for i, (v, _) in on_disk(planted).items() if v == "accept"}
    assert accepted == {
        i for i in planted.wrong if (planted.given[i], planted.truth[i]) == pair
    }
    page.keyboard.press("u")
    page.wait_for_selector(".notice:text('undone')")
    assert on_disk(planted) == {}
    page.goto(server.address + "audit?" + urlsplit(page.url).query)
    for number in range(3):
        page.keyboard.press("y")
        page.wait_for_function(
            "n => document.querySelector('.progress b').textContent == n",
            arg=str(number + 1),
        )
    assert [v for v, _ in on_disk(planted).values()] == ["keep"] * 3
    assert parse_qs(urlsplit(page.url).query)["w"]
    context.close()


def test_the_server_listens_on_this_machine_only(server: Server) -> None:
    port = urlsplit(server.address).port
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{30,}/", server.address)
    table = Path("/proc/net/tcp")
    listening = (
        [
            line.split()[1]
            for line in table.read_text().splitlines()
            if line.split()[3] == "0A"
        ]
        if table.exists()
        else []
    )
    mine = [address for address in listening if address.endswith(f":{port:04X}")]
    assert mine in ([], [f"0100007F:{port:04X}"])  # loopback, as the kernel writes it
    with urllib.request.urlopen(server.address) as answer:
        assert answer.status == 200


def test_a_closed_tab_gives_back_what_it_showed(
    chromium: Any, server: Server, planted: Any
) -> None:
    context = chromium.new_context()
    context.set_default_timeout(90_000)

    def open_tab(page_name: str = "") -> Any:
        page = context.new_page()
        page.goto(server.address + page_name)
        page.wait_for_load_state("networkidle")
        return page

    for page_name in ("", "audit"):
        first = open_tab(page_name)
        shown = first.get_attribute("#stage", "data-id")
        # a page that follows in the same window does not give it back
        first.reload()
        first.wait_for_load_state("networkidle")
        assert first.get_attribute("#stage", "data-id") == shown
        beside = open_tab(page_name)
        assert beside.get_attribute("#stage", "data-id") != shown
        beside.close()
        first.close()
        context.pages or context.new_page()
        again = open_tab(page_name)
        assert again.get_attribute("#stage", "data-id") == shown
        again.close()
    context.close()
