"""The routes of the review page: forms and addresses in, pages and JSON out.

Pictures are served by row of this run, encoded anew, never by path. Every decision is on disk
before the page answers. Who may ask at all is decided in `labelsieve.review.server`.
"""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from labelsieve.errors import OptionError
from labelsieve.review.deciding import RELOAD, NotInRun
from labelsieve.review.filters import (
    Filters,
    Sorting,
    read_filters,
    read_sorting,
    to_query,
    whole,
)
from labelsieve.review.session import Review
from labelsieve.runs.pages import ASSETS

SCRIPT = "text/javascript"
STYLE = "text/css"
FILES = {
    "htmx.js": ("vendor/htmx.min.js", SCRIPT),
    "items.js": ("items.js", SCRIPT),
    "style.css": ("style.css", STYLE),
    "review.css": ("review/review.css", STYLE),
    "views.css": ("review/views.css", STYLE),
    "review.js": ("review/review.js", SCRIPT),
    "window.js": ("review/window.js", SCRIPT),
    "card.js": ("review/card.js", SCRIPT),
    "classes.js": ("review/classes.js", SCRIPT),
    "chips.js": ("review/chips.js", SCRIPT),
    "grid.js": ("review/grid.js", SCRIPT),
    "zoom.js": ("review/zoom.js", SCRIPT),
    "map.js": ("review/map.js", SCRIPT),
    "points.js": ("review/points.js", SCRIPT),
}
# the report is one file: its scripts and styles stand in it
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)
# rows keep their numbers while the server runs, and its address is never used again
IMAGE_HEADERS = {"Cache-Control": "private, max-age=86400, immutable"}
SEE_OTHER = 303  # a form was sent: the browser fetches the next page with GET
LONGEST_NAME = 60  # characters of a person's name
Text = Annotated[str, Form()]
Number = Annotated[int, Form()]
InQuery = Annotated[str, Query()]


async def _form(request: Request) -> dict[str, str]:
    fields = await request.form()
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _query_filters(request: Request) -> Filters:
    return read_filters(request.query_params)


def _query_sorting(request: Request) -> Sorting:
    return read_sorting(request.query_params)


def _form_filters(fields: Annotated[dict[str, str], Depends(_form)]) -> Filters:
    return read_filters(fields)


def _person(name: str) -> str:
    """A name as it is written down: one line of printable characters, not too long."""
    printable = "".join(c for c in name if c.isprintable())
    return " ".join(printable.split())[:LONGEST_NAME].strip()


def _query_person(name: InQuery = "") -> str:
    return _person(name)


def _form_person(name: Text = "") -> str:
    return _person(name)


QueryFilters = Annotated[Filters, Depends(_query_filters)]
QuerySorting = Annotated[Sorting, Depends(_query_sorting)]
FormFilters = Annotated[Filters, Depends(_form_filters)]
QueryPerson = Annotated[str, Depends(_query_person)]
FormPerson = Annotated[str, Depends(_form_person)]


def routes(review: Review, token: str) -> APIRouter:
    """All pages of a review, below `/token/`."""
    # grouped by page; the token in front of all is the server's affair
    pages = APIRouter()
    home = f"/{token}/"
    _card_pages(pages, review, home)
    _grid_pages(pages, review, home)
    _many_answers(pages, review)
    _map_pages(pages, review, home)
    _window_routes(pages, review)
    _file_pages(pages, review)
    _history_pages(pages, review, home)
    _audit_pages(pages, review, home)
    return pages


def _go(home: str, page: str = "", **query: object) -> Response:
    return RedirectResponse(f"{home}{page}?{urlencode(query)}", SEE_OTHER)


def _named(home: str, page: str, request: Request) -> Response:
    """The same address with a name for a new window."""
    query = {**request.query_params, "w": secrets.token_hex(4)}
    return RedirectResponse(f"{home}{page}?{urlencode(query)}", SEE_OTHER)


def _is_htmx(request: Request) -> bool:
    """Whether a script exchanges a part of the page; without scripts, whole pages follow."""
    return "hx-request" in request.headers


def _row(text: str, review: Review) -> int | None:
    """A row that an address names; None where it names none."""
    number = whole(text)
    known = number is not None and number < len(review.suspects.columns)
    return number if known else None


def _numbers(text: str) -> list[int]:
    """Rows as an address lists them: "3,17,4"; what is no number is left out."""
    numbers = map(whole, text.split(","))
    return [number for number in numbers if number is not None]


def _labels(verdict: str, label: str, offered: str) -> str | list[str]:
    """The label of an answer about many items; of accept what was shown of each, as JSON.

    Raises:
        OptionError: no list of labels.
    """
    if verdict != "accept" or not offered:
        return "" if verdict == "accept" else label
    try:
        labels = json.loads(offered)
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise OptionError("What was suggested is no list of labels.", RELOAD)
    return labels


def _card_pages(pages: APIRouter, review: Review, home: str) -> None:
    """One suspect at a time."""

    def answer(
        request: Request, filters: Filters, w: str, row: int | None, **notice: Any
    ) -> Response:
        if not _is_htmx(request):
            return RedirectResponse(f"{home}?{to_query(filters, w)}", SEE_OTHER)
        return HTMLResponse(review.card(filters, w, row=row, **notice))

    @pages.get("/")
    def index(
        request: Request,
        filters: QueryFilters,
        person: QueryPerson,
        w: InQuery = "",
        row: InQuery = "",
    ) -> Response:
        if not w:
            return _named(home, "", request)
        shown = _row(row, review)
        return HTMLResponse(review.front_page(filters, w, row=shown, person=person))

    @pages.post("/decide")
    def decide(
        request: Request,
        filters: FormFilters,
        person: FormPerson,
        sample_id: Text,
        verdict: Text,
        w: Text,
        seen: Number = 0,
        label: Text = "",
        offered: Text = "",
    ) -> Response:
        # what was typed before is not what is accepted
        label = offered if verdict == "accept" else label
        # a notice means that nothing was written: the same image is shown again
        deciding = review.deciding
        notice = deciding.decide(sample_id, verdict, label, w, seen, person)
        row = deciding.row(sample_id) if notice else None
        return answer(request, filters, w, row, notice=notice, conflict=bool(notice))

    @pages.post("/undo")
    def undo(request: Request, filters: FormFilters, w: Text) -> Response:
        rows, notice = review.deciding.undo(w)
        return answer(request, filters, w, rows[0] if rows else None, notice=notice)


def _grid_pages(pages: APIRouter, review: Review, home: str) -> None:
    """Many suspects at once."""

    @pages.get("/grid")
    def grid(
        request: Request, filters: QueryFilters, sorting: QuerySorting, w: InQuery = ""
    ) -> Response:
        if not w:
            return _named(home, "grid", request)
        return HTMLResponse(review.grid_page(filters, sorting, w))

    @pages.get("/cells")
    def cells(
        filters: QueryFilters,
        sorting: QuerySorting,
        w: InQuery,
        start: int = 0,
        count: int = 60,
    ) -> Response:
        return JSONResponse(review.cells(filters, sorting, w, start, count))

    @pages.get("/some")
    def some(
        filters: QueryFilters, w: InQuery, rows: InQuery, hold: bool = False
    ) -> Response:
        numbers = _numbers(rows)
        return JSONResponse(review.some_cells(filters, numbers, w, hold=hold))

    @pages.get("/rows")
    def rows(filters: QueryFilters, sorting: QuerySorting) -> Response:
        return JSONResponse(review.rows(filters, sorting))


def _many_answers(pages: APIRouter, review: Review) -> None:
    """What is decided about many suspects at once."""

    @pages.post("/decide-many")
    def decide_many(
        person: FormPerson,
        rows: Text,
        seen: Text,
        verdict: Text,
        w: Text,
        label: Text = "",
        offered: Text = "",
    ) -> Response:
        answer = (verdict, _labels(verdict, label, offered))
        numbers = _numbers(rows), _numbers(seen)
        return JSONResponse(review.deciding.decide_many(*numbers, answer, w, person))

    @pages.post("/decide-all")
    def decide_all(
        filters: FormFilters,
        person: FormPerson,
        count: Number,
        verdict: Text,
        w: Text,
        label: Text = "",
        suggestions: Text = "",
    ) -> Response:
        written = review.deciding.decide_all(
            filters, count, (verdict, label), w, person, suggestions=suggestions
        )
        return JSONResponse(written)

    @pages.post("/undo-many")
    def undo_many(w: Text) -> Response:
        rows, notice = review.deciding.undo(w)
        return JSONResponse({"rows": rows, "notice": notice})


def _map_pages(pages: APIRouter, review: Review, home: str) -> None:
    """All images by what they look like."""

    @pages.get("/map")
    def map_page(request: Request, filters: QueryFilters, w: InQuery = "") -> Response:
        if not w:
            return _named(home, "map", request)
        return HTMLResponse(review.map_page(filters, w))

    @pages.get("/points")
    def points() -> Response:
        return Response(review.points(), media_type="application/octet-stream")

    @pages.get("/states")
    def states(filters: QueryFilters) -> Response:
        return Response(review.states(filters), media_type="application/octet-stream")


def _window_routes(pages: APIRouter, review: Review) -> None:
    """What open pages tell about themselves; nobody reads the answers."""

    @pages.post("/renew", status_code=204)
    def renew(w: Text, lease: Number, person: FormPerson) -> None:
        review.suspects.renew(w, lease, person)

    @pages.post("/release", status_code=204)
    def release(w: Text, lease: Number) -> None:
        review.suspects.release(w, lease)


def _file_pages(pages: APIRouter, review: Review) -> None:
    """Pictures, the type-ahead list, scripts and styles, the report."""

    @pages.get("/image")
    def image(row: InQuery, size: InQuery = "large") -> Response:
        number = _row(row, review)
        picture = review.picture(-1 if number is None else number, size)
        return Response(
            picture, media_type=review.pictures.media, headers=IMAGE_HEADERS
        )

    @pages.get("/classes")
    def classes(q: InQuery = "") -> Response:
        return HTMLResponse(review.page("options", options=review.suspects.search(q)))

    @pages.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in FILES:
            raise NotInRun("No such file.")
        file, kind = FILES[name]
        return Response((ASSETS / file).read_bytes(), media_type=kind)

    @pages.get("/report")
    def report() -> Response:
        # written anew, as decisions came in since
        html = review.write_report().read_text(encoding="utf-8")
        return HTMLResponse(html, headers={"Content-Security-Policy": REPORT_POLICY})


def _history_pages(pages: APIRouter, review: Review, home: str) -> None:
    """What was decided."""

    @pages.get("/history")
    def history(request: Request, w: InQuery = "") -> Response:
        # an address that somebody typed
        if not w:
            return _named(home, "history", request)
        return HTMLResponse(review.history_page(w))

    @pages.post("/history")
    def undo_one(w: Text, seq: Number, person: FormPerson) -> Response:
        review.deciding.undo_one(seq, w, person)
        return _go(home, "history", w=w)


def _audit_pages(pages: APIRouter, review: Review, home: str) -> None:
    """The random sample."""

    def answer(request: Request, w: str, **notice: Any) -> Response:
        if not _is_htmx(request):
            return _go(home, "audit", w=w)
        # the card alone: htmx puts it in place of the last one
        return HTMLResponse(review.audit_card(w, **notice))

    @pages.get("/audit")
    def audit(request: Request, person: QueryPerson, w: InQuery = "") -> Response:
        if not w:
            return _named(home, "audit", request)
        return HTMLResponse(review.audit_page(w, person))

    @pages.post("/audit")
    def write(
        request: Request,
        person: FormPerson,
        w: Text,
        sample_id: Text,
        verdict: Text,
        label: Text = "",
        second: Text = "",
    ) -> Response:
        notice = review.deciding.answer(
            sample_id, (verdict, label), w, person, second=bool(second)
        )
        return answer(request, w, notice=notice, conflict=bool(notice), person=person)

    @pages.post("/audit/undo")
    def undo(request: Request, w: Text, person: FormPerson) -> Response:
        return answer(request, w, notice=review.deciding.undo(w)[1], person=person)
