"""HTML pages: the template environment and what is embedded into them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from labelsieve.errors import LabelsieveError
from labelsieve.progress import between, chance, percent
from labelsieve.runs import items
from labelsieve.runs.pictures import open_pictures
from labelsieve.runs.run import Run

SMALL = 3_000  # characters of a picture's address: icons and digits take fewer
SIDE, QUALITY = 240, 80  # of a picture in a notebook: pixels, and WebP's measure
LETTERS = 40  # of a text in a notebook, as its kind counts them
ASSETS = Path(__file__).parent.parent / "assets"


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of the assets folder; everything that is put into them is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        # lines of statements leave no empty lines behind
        trim_blocks=True,
        lstrip_blocks=True,
        # a name that is spelled wrong is an error, not an empty place on the page
        undefined=jinja2.StrictUndefined,
    )
    templates.filters.update(
        percent=percent, chance=chance, between=between, count=count, label=label
    )
    return templates


def template(name: str) -> jinja2.Template:
    """A template by its path below the assets folder."""
    return environment().get_template(name)


def count(number: float) -> str:
    """A number of things, with separators of thousands."""
    return f"{round(number):,}"


def label(name: str | None) -> str:
    """A label, or a word for none."""
    return "(none)" if name is None else name


def asset(name: str) -> Markup:
    """A file of the assets folder, put into the page as it is."""
    # Markup: these files are part of the package and need no escaping
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def library(name: str) -> Markup:
    """A library's code with its licence, which must go with every copy."""
    (code,) = (ASSETS / "vendor").glob(f"{name}*.min.js")
    licence = Markup("/*\n") + asset(f"vendor/{name}.LICENSE") + Markup("*/\n")
    return licence + asset(f"vendor/{code.name}")


def _look(pictures: Any, sample_id: str) -> tuple[str, str]:
    """An item as letters or as a picture's address; the other one is empty."""
    if pictures is None:
        return "", ""
    if items.kind_of(pictures) == "images":
        data = items.view_of(pictures).embed(pictures, sample_id, SIDE, QUALITY)
        # an address without data shows as a broken picture; nothing shows as nothing
        return "", f"data:image/webp;base64,{data}" if data else ""
    return items.view_of(pictures).embed(pictures, sample_id, LETTERS, 0), ""


def in_notebook(opened: Run, shown: int = 12) -> str:
    """A run as HTML for a notebook: verdict, what limits it, the first suspects as pictures."""
    if not opened.finished:
        # Markup escapes what stands for {}
        return str(Markup("<p>{}</p>").format(repr(opened)))
    # few: a notebook keeps every output it has shown
    found = opened.suspects(shown).to_pylist()
    try:
        pictures = open_pictures(opened)
    # the data are gone, or were in memory: the words are left
    except LabelsieveError:
        pictures = None
    for row in found:
        row["text"], row["picture"] = _look(pictures, row["sample_id"])
        # a lossless file of few bytes has few pixels, which count each
        row["small"] = 0 < len(row["picture"]) < SMALL
    return template("run.html.j2").render(
        headline=opened.headline,
        caveats=opened.record.get("caveats", []),
        suspects=found,
        folder=opened.folder,
    )
