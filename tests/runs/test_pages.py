"""What pages are made of: words for shares, libraries with their licences, escaping."""

from __future__ import annotations

import jinja2
import pytest

from labelsieve.runs import pages


def test_nearly_sure_is_not_called_certain() -> None:
    shares = (0.0, 0.0004, 0.5, 0.9994, 0.99951, 0.9999999, 1.0)
    assert [pages.percent(share) for share in shares] == [
        "0.0 %",
        "0.0 %",
        "50.0 %",
        "99.9 %",
        "over 99.9 %",
        "over 99.9 %",
        "100.0 %",
    ]


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
