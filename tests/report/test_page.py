from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.estimation.noise_rate import as_triplets, noise_matrix
from labelsieve.files import write_json
from labelsieve.runs import pages, report
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


def charts(html: str) -> Any:
    return json.loads(
        re.search(
            r'<script type="application/json" id="charts">(.*?)</script>', html, re.S
        )[1]
    )  # type: ignore[index]


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
    }
    assert all(
        (a["src"] or "").startswith("data:image/webp;base64,")
        for t, a in page.tags
        if t == "img"
    )
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    words = " ".join(page.text)
    assert (
        '<img src=x onerror="window.hacked=1">' in words
        and 'it\'s "odd" & <b>\\n two.png' in words
    )


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
    base = len(re.sub(r'"data:image/webp;base64,[^"]*"', '""', html))
    assert 400_000 < base < 1_000_000  # the charting library is in it, and little else
    for name in ("d3", "plot"):
        assert (pages.ASSETS / "vendor" / f"{name}.LICENSE").read_text(
            encoding="utf-8"
        ).strip() in html


def test_every_image_says_what_it_shows(html: str) -> None:
    alts = [a.get("alt") for t, a in Page(html).tags if t == "img"]
    assert alts and all(alts)
    assert [a for t, a in Page(html).tags if t == "html"] == [{"lang": "en"}]
    assert all(
        a.get("aria-label") for _, a in Page(html).tags if a.get("role") == "img"
    )


def test_the_verdict_is_the_estimate(planted: Any, html: str) -> None:
    rate, low, high = planted.run.noise_rate
    n = planted.run.record["scored"]
    heading = re.search(r"<h1>(.*?)</h1>", html)[1]  # type: ignore[index]
    assert heading == (
        f"About {round(rate * n)} of {n} labels ({100 * rate:.1f} %) are probably wrong: "
        f"between {round(low * n)} and {round(high * n)}."
    )


def test_after_an_audit_the_verdict_is_the_audit(planted: Any) -> None:
    from labelsieve.runs import audit

    decisions = Decisions(planted.folder)
    sample = audit.order(list(planted.given))[:40]
    for sample_id in sample:
        decisions.add(sample_id, "wrong" if sample_id in planted.wrong else "keep")
    html = report.make(planted.folder).read_text(encoding="utf-8")
    wrong = sum(i in planted.wrong for i in sample)
    assert (
        f"random sample of 40 images that people judged, {wrong} of them wrongly labelled"
        in html
    )
    assert f"<dd>40 ({wrong} wrong)</dd>" in html


def test_cards_say_why(planted: Any, html: str) -> None:
    scores = {r["sample_id"]: r for r in planted.run.scores.to_pylist()}
    assert html.count('<li class="card"><div class="head">') == len(planted.wrong)
    for sample_id in planted.wrong[:3]:
        row = scores[sample_id]
        assert f"{100 * (1 - row['p_clean']):.1f} % likely to be wrong" in html
        assert f"{row['positive_logit']:.2f}, to the one against it" in html
    assert html.count("Nearest confident images of") == 2 * len(planted.wrong)


def test_histogram_counts_everything_and_finds_the_threshold() -> None:
    p = np.array([0.01, 0.2, 0.3, 0.51, 0.9, 1.0])
    flagged = [True, True, True, False, False, False]
    found = report.histogram(
        pa.table({"p_clean": [*p, None], "is_label_issue": [*flagged, None]})
    )
    assert (
        sum(b["flagged"] for b in found["bins"])
        == 3
        == sum(b["kept"] for b in found["bins"])
    )
    assert found["bins"][-1]["kept"] == 1 and found["threshold"] == pytest.approx(0.405)
    mixed = report.histogram(pa.table({"p_clean": p, "is_label_issue": flagged[::-1]}))
    assert mixed["threshold"] is None


def test_the_matrix_shows_row_shares_of_the_noisiest_classes(
    planted: Any, html: str
) -> None:
    matrix = noise_matrix(planted.run.noise).toarray()
    found = charts(html)["matrix"]
    assert found["classes"] == planted.run.classes
    shares = {(c["given"], c["suggested"]): c["share"] for c in found["cells"]}
    for i, given in enumerate(found["classes"]):
        assert sum(shares[given, s] for s in found["classes"]) == pytest.approx(
            1, abs=1e-3
        )
        assert shares[given, found["classes"][0]] == pytest.approx(
            matrix[i, 0] / matrix[i].sum(), abs=1e-3
        )
    many = np.eye(100) + 0.0
    many[7, 9] = many[50, 3] = 0.5
    names = [f"c{k}" for k in range(100)]
    cut = report._matrix(
        {"matrix": as_triplets(many), "per_class": dict.fromkeys(names, 0.5)}, names
    )
    assert len(cut["classes"]) == report.CELLS and {"c7", "c9", "c50", "c3"} <= set(
        cut["classes"]
    )


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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_in_a_browser(planted: Any, chromium: Any, scheme: str, width: int) -> None:
    path = report.make(planted.folder)
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    page = context.new_page()
    troubles: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: troubles.append(m.text))
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-charts=drawn]")
    assert troubles == [] and all(u.startswith(("file:", "data:")) for u in asked)
    assert page.evaluate("window.hacked") is None
    assert (
        page.locator(".chart svg").count() >= 3
        and page.locator("#chart-scores svg rect").count() >= 2
    )
    assert "<img src=x onerror" in page.locator("#chart-classes").inner_text()
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
    assert troubles == []
    page.emulate_media(media="print")
    assert page.locator("summary:visible").count() == 1  # what is closed is not printed
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    context.close()
