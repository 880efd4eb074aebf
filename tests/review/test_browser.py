"""The review page as a process of its own, most of it driven by a real browser."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from fixtures.browser import LOOKS, Server, Tab

from labelsieve.runs.decisions import Decisions, person_of

pytest.importorskip("uvicorn", reason="the extra 'review' is not installed")


def on_disk(planted: Any) -> dict[str, tuple[str, str | None]]:
    current = Decisions(planted.folder).all_current()
    return {i: (d.verdict, d.label) for i, d in current.items()}


@pytest.fixture
def server(planted: Any) -> Iterator[Server]:
    running = Server(planted.folder)
    yield running
    running.kill()


def shown(page: Any) -> str:
    return str(page.get_attribute("#stage", "data-id"))


def press(page: Any, key: str) -> None:
    before = shown(page)
    page.keyboard.press(key)
    page.wait_for_function(
        "before => document.querySelector('#stage').dataset.id !== before"
        " && !document.body.classList.contains('busy')",
        arg=before,
    )


def test_a_keyboard_session_in_a_browser(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium)
    page = tab.go(server.address + "?show=all")
    assert page.locator("h1").count() == 1 and page.locator("#main").count() == 1
    expected: dict[str, str] = {}
    for number in range(30):
        sample_id = shown(page)
        if number % 5 == 3:
            page.keyboard.press("o")
            page.keyboard.type("tw")
            press(page, "Enter")  # at once: the list may still be on its way
            same = planted.given[sample_id] == "two"
            expected[sample_id] = "keep" if same else "other"
            continue
        key, verdict = (
            ("k", "keep"),
            ("a", "accept"),
            ("n", "none"),
            ("", ""),
            ("s", "skip"),
        )[number % 5]
        press(page, key)
        right = planted.given[sample_id] == planted.truth[sample_id]
        expected[sample_id] = "keep" if verdict == "accept" and right else verdict
    assert {i: v for i, (v, _) in on_disk(planted).items()} == expected
    last = list(expected)[-1]
    press(page, "u")
    assert shown(page) == last and last not in on_disk(planted)
    assert page.locator(".notice.conflict").count() == 0  # to undo is no error

    # whoever goes from button to button stays there, and hears what is asked next
    page.focus("#keep")
    press(page, "Enter")
    assert page.evaluate("document.activeElement.id") == "keep"
    assert page.inner_text("#said").startswith("labelled ")
    page.keyboard.press("o")
    page.wait_for_selector("#options [role=option]")
    assert page.get_attribute("#other", "aria-activedescendant") == "option-0"
    page.keyboard.press("Escape")
    # what it named is gone
    assert page.get_attribute("#other", "aria-activedescendant") is None
    # a class by its number
    sample_id = shown(page)
    wanted = page.get_attribute("[data-key='2']", "data-class")
    press(page, "2")
    same = planted.given[sample_id] == wanted
    assert on_disk(planted)[sample_id] == (
        ("keep", None) if same else ("other", wanted)
    )

    tab.close()


def test_a_server_that_is_gone_is_named_and_nothing_answered_is_lost(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium)
    page = tab.go(server.address)
    other = tab.context.new_page()
    other.goto(server.address)
    mine, theirs = shown(page), shown(other)
    assert mine != theirs
    press(page, "k")
    press(other, "n")
    assert on_disk(planted) == {mine: ("keep", None), theirs: ("none", None)}
    assert tab.troubles == []
    server.kill()
    page.keyboard.press("k")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "was not saved" in page.inner_text("#trouble")
    assert on_disk(planted) == {mine: ("keep", None), theirs: ("none", None)}
    again = Server(planted.folder)
    page.goto(again.address)
    assert shown(page) not in (mine, theirs)
    assert page.evaluate("window.hacked") is None
    again.kill()
    tab.context.close()


def marked(page: Any) -> str:
    return str(page.locator(".cell.marked").get_attribute("title")).split("\n")[0]


def settled(page: Any, count: int) -> None:
    page.wait_for_function(
        "n => document.querySelectorAll('.cell.settled').length === n", arg=count
    )


def test_a_grid_is_judged_by_mouse_and_keyboard(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium)
    page = tab.go(server.address + "grid")
    page.wait_for_selector("#cell-11")
    # by keys: mark the second, select three, accept them in one write
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".cell[aria-selected=true]").count() == 3
    page.keyboard.press("a")
    settled(page, 3)
    wanted = {i: ("accept", planted.truth[i]) for i in planted.wrong[1:4]}
    assert on_disk(planted) == wanted
    # by click, and a click with Shift up to there
    page.click("#cell-5")
    page.click("#cell-7", modifiers=["Shift"])
    page.keyboard.press("n")
    settled(page, 6)
    wanted |= {i: ("none", None) for i in planted.wrong[5:8]}
    assert on_disk(planted) == wanted
    # by dragging a rectangle
    first = page.locator("#cell-8").bounding_box()
    last = page.locator("#cell-9").bounding_box()
    page.mouse.move(first["x"] + 5, first["y"] + 5)
    page.mouse.down()
    page.mouse.move(last["x"] + 20, last["y"] + 20, steps=4)
    page.mouse.up()
    assert page.locator(".cell[aria-selected=true]").count() == 2
    page.keyboard.press("k")
    settled(page, 8)
    wanted |= {i: ("keep", None) for i in planted.wrong[8:10]}
    assert on_disk(planted) == wanted
    # undone as one
    page.keyboard.press("u")
    settled(page, 6)
    assert len(on_disk(planted)) == 6
    # the rest of the screen is right, and nothing is left
    page.keyboard.press("r")
    page.wait_for_selector("#empty:not([hidden])")
    assert len(on_disk(planted)) == 12
    tab.close()


def test_a_grid_is_filtered_sorted_and_answered_as_a_whole(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium)
    page = tab.go(server.address + "grid")
    page.wait_for_selector("#cell-11")
    page.select_option("#sort", "pair")
    page.wait_for_selector(".group-title")
    pairs = {(planted.given[i], planted.truth[i]) for i in planted.wrong}
    # the screen is filled in steps; what does not fit comes on the next one
    page.wait_for_function("n => !!document.querySelector(`#cell-${n}`)", arg=8)
    titles = set(page.locator(".group-title").all_inner_texts())
    while not page.locator("#forward").is_disabled():
        before = page.inner_text("#range")
        page.click("#forward")
        page.wait_for_function(
            "t => document.querySelector('#range').innerText !== t", arg=before
        )
        titles |= set(page.locator(".group-title").all_inner_texts())
    assert titles == {f"{given} → {other}" for given, other in pairs}
    page.goto(server.address + "grid?sort=pair")
    page.wait_for_selector("#cell-8")
    assert parse_qs(urlsplit(page.url).query)["sort"] == ["pair"]
    # a click on its title selects a confusion
    title = page.locator(".group-title").first
    title.click()
    chosen = page.locator(".cell[aria-selected=true]").count()
    assert chosen == page.locator(".group").first.locator(".cell").count()
    page.keyboard.press("Escape")
    assert page.locator(".cell[aria-selected=true]").count() == 0
    # one answer for all that is left in by the filters
    given = planted.given[planted.wrong[0]]
    page.select_option("select[name=given]", given)
    page.wait_for_load_state("networkidle")
    wanted = [i for i in planted.wrong if planted.given[i] == given]
    page.wait_for_selector("#cell-0")
    page.click("[data-do=all]")
    page.click("#confirm-yes")
    page.wait_for_selector("#empty:not([hidden])")
    assert on_disk(planted) == {i: ("accept", planted.truth[i]) for i in wanted}
    # sizes, a text, and what looks like an image
    page.goto(server.address + "grid?show=all&decided=any&text=zero")
    page.wait_for_selector("#cell-0")
    shown_paths = page.locator(".cell").evaluate_all("all => all.map(c => c.title)")
    assert all("zero" in path.split("\n")[0] for path in shown_paths)
    width = page.locator("#cell-0").bounding_box()["width"]
    page.keyboard.press("+")
    page.wait_for_function(
        "w => document.querySelector('#cell-0')?.offsetWidth > w + 20", arg=width
    )
    path = marked(page)
    page.keyboard.press("l")
    page.wait_for_url("**/grid?*sort=similar*")
    page.wait_for_selector("#cell-0")
    assert marked(page) == path  # the most similar to it is itself
    tab.close()


def test_a_key_of_the_map_whose_button_is_hidden_does_nothing(
    planted: Any, chromium: Any, server: Server
) -> None:
    scores = planted.run.scores.to_pylist()
    right = next(r for r in scores if r["sample_id"] not in planted.wrong)
    tab = Tab(chromium)
    query = urlencode({"show": "all", "text": right["path"]})
    page = tab.go(f"{server.address}map?{query}")
    page.wait_for_selector("#atlas[data-ready]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#side-buttons:not([hidden])")
    assert page.is_hidden("[data-act=accept]")
    page.keyboard.press("a")
    # an answer on its way would keep this one from being sent
    page.keyboard.press("n")
    page.wait_for_function(
        "() => document.querySelector('#side-words').textContent.includes('no class')"
    )
    assert on_disk(planted) == {right["sample_id"]: ("none", None)}
    tab.close()


def test_the_map_steps_through_suspects_and_a_lasso_leads_to_the_grid(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium)
    page = tab.go(server.address + "map")
    page.wait_for_selector("#atlas[data-ready]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#side-buttons:not([hidden])")
    path_of = dict(
        zip(
            planted.run.scores["sample_id"].to_pylist(),
            planted.run.scores["path"].to_pylist(),
            strict=True,
        )
    )
    for number in range(6):
        path = path_of[planted.wrong[number]]
        page.wait_for_function(
            "path => document.querySelector('#side-path').textContent === path",
            arg=path,
        )
        page.keyboard.press("kan"[number % 3])
    page.wait_for_function(
        "path => document.querySelector('#side-path').textContent === path",
        arg=path_of[planted.wrong[6]],
    )
    verdicts = [on_disk(planted)[i][0] for i in planted.wrong[:6]]
    assert verdicts == ["keep", "accept", "none"] * 2
    page.keyboard.press("u")
    page.wait_for_function(
        "() => document.querySelector('#notice').textContent.includes('undone')"
    )
    assert len(on_disk(planted)) == 5
    # a lasso around everything catches all that is not decided
    page.keyboard.press("l")
    box = page.locator("#plane").bounding_box()
    corners = [(4, 60), (box["width"] - 4, 60), (box["width"] - 4, box["height"] - 4)]
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] - 4)
    page.mouse.down()
    for x, y in corners:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=5)
    page.mouse.up()
    page.wait_for_selector("#caught:not([hidden])")
    caught = int(page.inner_text("#caught-count").split()[0])
    assert 35 <= caught <= 43
    page.click("#caught-link")
    page.wait_for_selector("#cell-0")
    assert page.inner_text("#range").endswith(f"of {caught}")
    assert page.locator(".chip").inner_text() == "on the map"
    tab.close()


def test_a_name_goes_with_decisions_and_others_see_it(
    planted: Any, chromium: Any, server: Server
) -> None:
    one, two = Tab(chromium), Tab(chromium)
    page = one.go(server.address)
    page.click("#who")
    page.fill("#name", "Ada")
    page.click("#naming button[value=save]")
    page.wait_for_function("() => document.querySelector('#who').textContent === 'Ada'")
    sample_id = shown(page)
    press(page, "k")
    current = Decisions(planted.folder).all_current()
    assert {i: person_of(d.by) for i, d in current.items()} == {sample_id: "Ada"}
    other = two.go(server.address + "grid")
    other.wait_for_selector("#cell-0")
    assert other.inner_text("#others") == "Ada looks at 1 image."
    assert other.locator(".cell.held .state").inner_text() == "Ada looks at it"
    one.close()
    two.close()


def test_a_picture_is_enlarged_to_its_full_size(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium)
    page = tab.go(server.address)
    page.keyboard.press("z")
    page.wait_for_selector("#zoom[open]")
    page.wait_for_function("() => document.querySelector('#zoomed').naturalWidth > 0")
    page.wait_for_function(
        "() => document.querySelector('#zoom-words').textContent.includes(' × ')"
    )
    before = page.evaluate("document.querySelector('#zoomed').style.transform")
    page.keyboard.press("+")
    assert page.evaluate("document.querySelector('#zoomed').style.transform") != before
    page.keyboard.press("z")
    page.wait_for_selector("#zoom:not([open])", state="attached")
    # a trusted look-alike, too
    page.locator(".near .enlarge").first.click()
    page.wait_for_selector("#zoom[open]")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    page.keyboard.press("Escape")
    press(page, "k")  # keys mean answers again
    tab.close()


@pytest.mark.parametrize("looks", LOOKS)
def test_every_view_is_accessible_and_fits_its_screen(
    chromium: Any, server: Server, looks: list[Any]
) -> None:
    pytest.importorskip(
        "axe_playwright_python", reason="axe-playwright-python is not installed"
    )
    # on one server, as all of it is only read
    for scheme, size in looks:
        look_at(chromium, server, scheme, size)


def look_at(chromium: Any, server: Server, scheme: str, size: tuple[int, int]) -> None:
    # the page forbids foreign scripts; axe is brought in past that
    tab = Tab(chromium, size, color_scheme=scheme, bypass_csp=True)
    for name in ("", "grid", "grid?sort=pair", "map", "audit", "history?w=x"):
        page = tab.go(server.address + name)
        assert tab.violations() == [], (size, name)
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(fits), (size, name)
        if name.startswith("grid"):
            # the bar of answers is seen whole
            page.wait_for_selector(".cell")
            bar = page.locator(".actions").bounding_box()
            button = page.locator(".actions button").first.bounding_box()
            assert (
                bar["height"] >= button["height"]
                and bar["y"] + bar["height"] <= size[1] + 1
            )
    if size[0] > 1000:
        # trusted look-alikes above the fold
        page = tab.go(server.address)
        for image in page.locator(".near img").all():
            if image.is_visible():
                box = image.bounding_box()
                assert box["y"] + box["height"] <= size[1]
    tab.close()


def test_audit_answers_count_in_a_browser(
    planted: Any, chromium: Any, server: Server
) -> None:
    tab = Tab(chromium, (390, 844), color_scheme="dark")
    page = tab.go(server.address + "audit")
    for number in range(3):
        page.keyboard.press("yky"[number])
        page.wait_for_function(
            "n => document.querySelector('#judged b').textContent == n",
            arg=str(number + 1),
        )
    assert [v for v, _ in on_disk(planted).values()] == ["keep"] * 3
    assert parse_qs(urlsplit(page.url).query)["w"]
    tab.close()


def test_the_server_listens_on_this_machine_only(server: Server) -> None:
    port = urlsplit(server.address).port
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{30,}/", server.address)
    table = Path("/proc/net/tcp")
    listening = []
    if table.exists():
        lines = [line.split() for line in table.read_text().splitlines()]
        listening = [line[1] for line in lines if line[3] == "0A"]
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
        was = shown(first)
        # a page that follows in the same window does not give it back
        first.reload()
        first.wait_for_load_state("networkidle")
        assert shown(first) == was
        beside = open_tab(page_name)
        assert shown(beside) != was
        beside.close()
        first.close()
        context.pages or context.new_page()
        again = open_tab(page_name)
        assert shown(again) == was
        again.close()
    context.close()
