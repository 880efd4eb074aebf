from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelsieve.audits import headline
from labelsieve.files import write_json
from labelsieve.progress import chance
from labelsieve.report import page as report
from labelsieve.runs import pages
from labelsieve.runs.decisions import Decisions


class Page(HTMLParser):
    """Tags with their attributes, and text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._raw = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text.append(data)


@pytest.fixture
def html(planted: Any) -> str:
    return report.make(planted.folder).read_text(encoding="utf-8")


def embedded(html: str, name: str) -> Any:
    pattern = rf'<script type="application/json" id="{name}">(.*?)</script>'
    return json.loads(re.search(pattern, html, re.S)[1])  # type: ignore[index]


def suspects(html: str) -> Any:
    return embedded(html, "rows")


def test_hostile_names_show_as_text(planted: Any, html: str) -> None:
    page = Page(html)
    assert {t for t, _ in page.tags} <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "header",
        "p",
        "span",
        "h1",
        "h2",
        "code",
        "dl",
        "div",
        "dt",
        "dd",
        "nav",
        "ul",
        "li",
        "main",
        "section",
        "ol",
        "img",
        "details",
        "summary",
        "figure",
        "figcaption",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "footer",
        "script",
        *("form", "label", "input", "select", "option", "button", "dialog", "canvas"),
        *("noscript", "i"),
    }
    # the one of the dialog gets its picture when it is opened
    sources = [a["src"] or "" for t, a in page.tags if t == "img" and "src" in a]
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    words = " ".join(page.text)
    assert '<img src=x onerror="window.hacked=1">' in words
    assert 'it\'s "odd" & <b>\\n two.png' in " ".join(suspects(html)["path"])


def test_the_file_is_whole_and_asks_the_network_for_nothing(html: str) -> None:
    page = Page(html)
    fetched = [
        a.get(k)
        for t, a in page.tags
        for k in ("src", "href", "action", "data")
        if a.get(k)
    ]
    assert all(f.startswith(("data:", "#")) for f in fetched if f)
    assert "default-src 'none'" in html and "url(" not in re.sub(
        r"<script>.*?</script>", "", html, flags=re.S
    )
    base = len(re.sub(r'"[A-Za-z0-9+/=]{100,}"', '""', html))
    assert 400_000 < base < 1_000_000  # the charting library is in it, and little else
    for name in ("d3", "plot"):
        assert (pages.ASSETS / "vendor" / f"{name}.LICENSE").read_text(
            encoding="utf-8"
        ).strip() in html


def test_every_image_says_what_it_shows(html: str) -> None:
    alts = [a.get("alt") for t, a in Page(html).tags if t == "img" and "src" in a]
    assert alts and all(alts)
    assert [a for t, a in Page(html).tags if t == "html"] == [{"lang": "en"}]
    assert all(
        a.get("aria-label") for _, a in Page(html).tags if a.get("role") == "img"
    )


def test_the_verdict_is_the_estimate(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline, "says_little", lambda low, high: False)
    html = report.make(planted.folder).read_text(encoding="utf-8")
    rate, low, high = planted.run.noise_rate
    n = planted.run.record["scored"]
    heading = re.search(r"<h1>(.*?)</h1>", html)[1]  # type: ignore[index]
    assert heading == (
        f"About {100 * rate:.1f} % of {n} labels are probably wrong "
        f"({100 * low:.1f} to {100 * high:.1f} %)."
    )
    assert f"about {rate * n:.0f} <span" in html


def test_an_interval_that_says_nothing_names_no_number(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline, "says_little", lambda low, high: True)
    html = report.make(planted.folder).read_text(encoding="utf-8")
    assert "<h1>Too few images to say how many of 48 labels are wrong.</h1>" in html


def test_after_an_audit_the_verdict_is_the_audit(planted: Any) -> None:
    from labelsieve.audits import design

    decisions = Decisions(planted.folder)
    plan = design.commit(planted.run, decisions, design.Wish(answers=40))
    for sample_id in plan.ids:
        decisions.add(sample_id, "wrong" if sample_id in planted.wrong else "keep")
    html = report.make(planted.folder).read_text(encoding="utf-8")
    wrong = sum(i in planted.wrong for i in plan.ids)
    judged = len(plan.ids)
    assert f"From {judged} random images that people judged, {wrong} of them" in html
    assert f"<dd>{judged} ({wrong} wrong)</dd>" in html


def test_cards_say_what_was_decided(planted: Any, html: str) -> None:
    before = suspects(html)
    assert before["verdict"] == [""] * len(planted.wrong)
    decisions = Decisions(planted.folder)
    first, second = planted.run.scores["sample_id"].to_pylist()[:2]
    decisions.add(first, "keep")
    decisions.add(second, "other", "one")
    after = suspects(report.make(planted.folder).read_text(encoding="utf-8"))
    assert after["path"] == before["path"]
    assert after["verdict"][:3] == ["keep", "other", ""]
    assert after["classes"][after["decided"][1]] == "one" and after["wrong"][0] == 0


def test_what_limits_the_verdict_stands_beside_it(planted: Any) -> None:
    caveats = ["The demo model <b>judged</b> these pictures."]
    record = {**planted.run.record, "caveats": caveats}
    write_json(planted.folder / "run.json", record)
    html = report.make(planted.folder).read_text(encoding="utf-8")
    said = html.index("The demo model &lt;b&gt;judged&lt;/b&gt; these pictures.")
    assert html.index("</h1>") < said < html.index('class="facts"')


def test_that_text_says_nothing_is_told_beside_other_limits(planted: Any) -> None:
    told = "The class names say nothing about these pictures"
    agreement = {"verdict": "nothing", "sentence": told}
    record = {**planted.run.record, "caveats": ["The demo model."], "warnings": [told]}
    record |= {"agreement": agreement, "text_warnings": [told], "method_facts": {}}
    write_json(planted.folder / "run.json", record)
    page = report.make(planted.folder).read_text(encoding="utf-8")
    assert told in page and "Nothing unusual was found" not in page


def test_what_has_no_room_lies_beside_it(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = suspects(report.make(planted.folder).read_text(encoding="utf-8"))["path"]
    monkeypatch.setattr(report.cards, "MOST", 5)
    first = report.make(planted.folder, everything=True)
    html = first.read_text(encoding="utf-8")
    assert f"the 5 most suspicious of {len(whole)}" in html
    found = suspects(html)["path"]
    for number in range(2, 2 + -(-(len(whole) - 5) // 5)):
        more = first.with_name(f"report-{number}.html").read_text(encoding="utf-8")
        found += suspects(more)["path"]
    assert found == whole


def test_preflight_findings_and_settings_are_there(planted: Any) -> None:
    record = planted.run.record
    write_json(
        planted.folder / "run.json",
        {
            **record,
            "warnings": ["Classes 'Cat' and 'cat' differ only in case or spaces."],
        },
    )
    html = report.make(planted.folder).read_text(encoding="utf-8")
    assert (
        "Classes &#39;Cat&#39; and &#39;cat&#39; differ only in case or spaces." in html
    )
    assert record["environment"]["torch"] in html and "context_length" in html


def luminance(colour: str) -> float:
    parts = (
        [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        if len(colour) == 7
        else [int(c * 2, 16) / 255 for c in colour[1:]]
    )
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_light_dark_and_print() -> None:
    """WCAG 2.2, success criterion 1.4.3: 4.5 to 1 for text."""
    css = (Path(pages.ASSETS) / "style.css").read_text(encoding="utf-8")
    themes = re.findall(r":root\{([^}]*--paper[^}]*)\}", css)
    assert len(themes) == 3
    for theme in themes:
        c = dict(re.findall(r"--([\w-]+):(#\w+)", themes[0])) | dict(
            re.findall(r"--([\w-]+):(#\w+)", theme)
        )
        for text, ground in [
            (t, g)
            for t in ("ink", "quiet", "wrong", "right", "accent")
            for g in ("paper", "raised")
        ] + [("on-accent", "accent")]:
            light, dark = sorted(
                (luminance(c[text]), luminance(c[ground])), reverse=True
            )
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, theme)


@pytest.fixture
def shown(planted: Any, chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens the report; nothing may be said on the console, and nothing be asked for."""
    contexts = []
    troubles: list[str] = []
    asked: list[str] = []

    def show(path: Path, scheme: str = "light", width: int = 1280) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: troubles.append(m.text))
        page.on("pageerror", lambda e: troubles.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-charts=drawn]")
        return page

    yield show
    assert troubles == [] and all(u.startswith(("file:", "data:")) for u in asked)
    for context in contexts:
        context.close()


def test_a_suggestion_is_said_by_the_probability_beside_it(
    planted: Any, shown: Any
) -> None:
    path = report.make(planted.folder)
    html = path.read_text(encoding="utf-8")
    rows = suspects(html)
    # 60 % right as it is, 30 % of another class: flagged all the same
    rows["wrong"][0], rows["suggested_prob"][0] = 0.4, 0.3
    start = html.index('id="rows">') + len('id="rows">')
    end = html.index("</script>", start)
    written = json.dumps(rows).replace("<", "\\u003c")
    path.write_text(html[:start] + written + html[end:], encoding="utf-8")
    said = shown(path).locator("#cards .card .labels .quiet").all_inner_texts()
    said = [word.strip() for word in said]
    assert said[0] == "possibly" and set(said[1:]) == {"almost certainly"}


def test_cards_are_filtered_sorted_and_enlarged(planted: Any, shown: Any) -> None:
    path = report.make(planted.folder)
    rows = suspects(path.read_text(encoding="utf-8"))
    page = shown(path)
    cards = page.locator("#cards .card")
    assert cards.count() == len(planted.wrong)
    scores = {r["path"]: r for r in planted.run.scores.to_pylist()}
    first = scores[rows["path"][0].replace("\\n", "\n")]
    words = cards.first.inner_text()
    assert f"{chance(1 - first['p_clean'])} likely to be wrong" in words
    assert page.locator("#cards img.crisp").count() == len(planted.wrong)

    page.select_option("[name=given]", str(rows["classes"].index("one")))
    wanted = sum(rows["classes"][k] == "one" for k in rows["given"])
    assert cards.count() == wanted > 0
    assert f"{wanted} of {len(planted.wrong)} flagged" in page.inner_text("#count")
    page.select_option("[name=given]", "")
    page.fill("[name=text]", "no such path")
    assert cards.count() == 0
    page.fill("[name=text]", "")
    page.select_option("[name=sort]", "last")
    assert rows["path"][-1] in cards.first.inner_text()

    page.locator(".shot").nth(0).click()
    assert rows["path"][-1] in page.inner_text("#zoom-path")
    assert page.locator("#zoom-near img").count() >= 2
    page.keyboard.press("ArrowRight")
    assert rows["path"][-2] in page.inner_text("#zoom-path")
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()


def test_pages_hold_all_of_them(
    planted: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = report.standing.of_run(planted.run)
    monkeypatch.setattr(
        report.cards, "order", lambda now: np.arange(len(everything.given))
    )
    page = shown(report.make(planted.folder))
    assert page.inner_text("#where") == "page 1 of 2"
    assert page.locator("#cards .card").count() == 24
    page.click("#after")
    assert page.locator("#cards .card").count() == len(everything.given) - 24
    assert page.locator("#after").is_disabled()


# how far behind the longest whisker each share begins
BEHIND = """() => {
  const ends = (kind) => [...document.querySelectorAll(
    `#chart-classes g[aria-label=${kind}] > *`)].map((e) => e.getBoundingClientRect());
  const last = Math.max(...ends("rule").map((e) => e.right));
  return ends("text").map((e) => e.left - last);
}"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_in_a_browser(planted: Any, shown: Any, scheme: str, width: int) -> None:
    page = shown(report.make(planted.folder), scheme, width)
    assert page.evaluate("window.hacked") is None
    assert (
        page.locator(".chart svg").count() >= 3
        and page.locator("#chart-scores svg rect").count() >= 2
    )
    assert "<img src=x" in page.locator("#chart-classes").inner_text()
    # so that none is read as a place on the axis
    assert min(page.evaluate(BEHIND)) > 0
    assert page.evaluate(
        "document.documentElement.scrollWidth <= innerWidth"
    )  # nothing sticks out on a phone
    dark = (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        != "rgb(255, 255, 255)"
    )
    assert dark == (scheme == "dark")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert (
        page.locator(".chart svg:not([aria-hidden=true])").count() == 0
    )  # the chart's place names it
    outside = (
        "e => [...document.querySelectorAll(e)]"
        ".filter(x => x.scrollWidth > x.clientWidth).length"
    )
    assert page.evaluate(outside, ".card") == 0  # long names are broken
    page.locator("[aria-labelledby=classes] summary").click()
    assert page.locator("th[scope=row]").first.bounding_box()["width"] > 80
    page.set_viewport_size(
        {"width": 100, "height": 800}
    )  # narrower than any chart: nothing is drawn inside out
    page.wait_for_timeout(200)
    page.emulate_media(media="print")
    assert page.locator("summary:visible").count() == 1  # what is closed is not printed
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
