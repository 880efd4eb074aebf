"""HTML pages: the template environment and what is embedded into them."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

ASSETS = Path(__file__).parent.parent / "assets"


def environment() -> jinja2.Environment:
    """Templates of the assets folder; everything that is put into them is escaped."""
    loader = jinja2.FileSystemLoader(ASSETS)
    made = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(
        percent=_percent,
        count=lambda n: f"{round(n):,}",
        label=lambda v: "(none)" if v is None else v,
    )
    return made


def _percent(share: float, digits: int = 1) -> str:
    """A share in words; what is nearly sure is not called certain."""
    least = 0.5 * 10 ** -(digits + 2)
    return (
        f"over {100 - 10**-digits:.{digits}f} %"
        if 1 - least <= share < 1
        else f"{100 * share:.{digits}f} %"
    )


def _asset(name: str) -> Markup:
    """A file of ours, put into the page as it is."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _library(name: str) -> Markup:
    """A library's code with its licence, which must go with every copy."""
    licence, code = (
        _asset(f"vendor/{name}.LICENSE"),
        next((ASSETS / "vendor").glob(f"{name}*.min.js")),
    )
    return (
        Markup("/*\n")
        + licence
        + Markup("*/\n")
        + Markup(code.read_text(encoding="utf-8"))
    )
