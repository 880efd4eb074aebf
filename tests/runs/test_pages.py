"""What pages are made of: words for shares, libraries with their licences, escaping."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from labelsieve import progress
from labelsieve.runs import pages


def test_scripts_say_shares_as_everything_else_does(chromium: Any) -> None:
    page = chromium.new_page()
    page.add_script_tag(content=str(pages.asset("items.js")))
    # halves, numbers that nearly are halves, and both ends
    shares = [k / 800 for k in range(801)] + [k / 1000 + 5e-4 for k in range(1000)]
    shares += [1e-9, 4e-4, 0.0049, 0.00501, 0.9949, 0.9951, 0.99951, 1 - 1e-9]
    for digits in (0, 1):
        script = "([all, digits]) => all.map(share => percent(share, digits))"
        said = page.evaluate(script, [shares, digits])
        assert said == [progress.percent(share, digits) for share in shares]
    said = page.evaluate("all => all.map(howLikely)", shares)
    assert said == [progress.how_likely(share) for share in shares]
    page.close()


def test_numbers_and_labels_in_words() -> None:
    assert pages.count(1234.6) == "1,235"
    assert pages.label(None) == "(none)" and pages.label("") == ""


def test_libraries_carry_their_licence() -> None:
    for name in ("d3", "plot"):
        code = pages.library(name)
        assert code.startswith("/*\n") and "ISC" in code[:2000]


def test_what_is_put_in_is_escaped_and_what_is_missing_is_an_error() -> None:
    environment = pages.environment()
    template = environment.from_string("{{ name }}")
    assert template.render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        template.render()
