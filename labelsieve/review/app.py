"""The routes of the review page: forms and addresses in, pages out.

Pictures are served by sample id, encoded anew, never by path. Every decision is on disk before
the page answers. Who may ask at all is decided in `labelsieve.review.server`.
"""

from __future__ import annotations

import secrets
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from labelsieve.review.queue import Filters
from labelsieve.review.session import NotInRun, Review, to_query
from labelsieve.runs.pages import ASSETS
from labelsieve.runs.pictures import LARGE, THUMBNAIL

FILES = {
    "htmx.js": ("vendor/htmx.min.js", "text/javascript"),
    "review.js": ("review/review.js", "text/javascript"),
    "style.css": ("style.css", "text/css"),
    "review.css": ("review/review.css", "text/css"),
}
# the report is one file: its scripts and styles stand in it
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)
# a sample id names the picture's bytes, so it never changes
IMAGE_HEADERS = {"Cache-Control": "private, max-age=3600, immutable"}
SEE_OTHER = 303  # a form was sent: the browser fetches the next page with GET
Text = Annotated[str, Form()]
Number = Annotated[int, Form()]
InQuery = Annotated[str, Query()]
Share = Annotated[float, Query(ge=0, le=1)]
FormShare = Annotated[float, Form(ge=0, le=1)]


def _filters(given: str, suggested: str, least: float, everything: str) -> Filters:
    # a checkbox sends "1" or nothing; addresses carry what Python spells
    wanted = everything not in ("", "False", "0")
    return Filters(given or None, suggested or None, least, wanted)


def _filters_of_query(
    given: InQuery = "",
    suggested: InQuery = "",
    least: Share = 0.0,
    everything: InQuery = "",
) -> Filters:
    return _filters(given, suggested, least, everything)


def _filters_of_form(
    given: Text = "",
    suggested: Text = "",
    least: FormShare = 0.0,
    everything: Text = "",
) -> Filters:
    return _filters(given, suggested, least, everything)


QueryFilters = Annotated[Filters, Depends(_filters_of_query)]
FormFilters = Annotated[Filters, Depends(_filters_of_form)]


def routes(review: Review, token: str) -> APIRouter:
    """All pages of a review, below `/token/`."""
    # grouped by page; the token in front of all is the server's affair
    pages = APIRouter()
    home = f"/{token}/"
    _decision_pages(pages, review, home)
    _window_routes(pages, review)
    _file_pages(pages, review)
    _bulk_pages(pages, review, home)
    _history_pages(pages, review, home)
    _audit_pages(pages, review, home)
    return pages


def _go(home: str, page: str = "", **query: object) -> Response:
    return RedirectResponse(f"{home}{page}?{urlencode(query)}", SEE_OTHER)


def _is_htmx(request: Request) -> bool:
    """Whether a script exchanges a part of the page; without scripts, whole pages follow."""
    return "hx-request" in request.headers


def _decision_pages(pages: APIRouter, review: Review, home: str) -> None:
    """One suspect at a time."""

    def answer(
        request: Request, filters: Filters, w: str, row: int | None, notice: str
    ) -> Response:
        if not _is_htmx(request):
            return RedirectResponse(f"{home}?{to_query(filters, w)}", SEE_OTHER)
        return HTMLResponse(review.card(filters, w, row=row, notice=notice))

    @pages.get("/")
    def index(filters: QueryFilters, w: InQuery = "") -> Response:
        if not w:
            query = to_query(filters, secrets.token_hex(4))
            return RedirectResponse(f"{home}?{query}", SEE_OTHER)
        return HTMLResponse(review.front_page(filters, w))

    @pages.post("/decide")
    def decide(
        request: Request,
        filters: FormFilters,
        sample_id: Text,
        verdict: Text,
        w: Text,
        seen: Number = 0,
        label: Text = "",
    ) -> Response:
        # a notice means that nothing was written: the same image is shown again
        notice = review.decide(sample_id, verdict, label, w, seen)
        row = review.row(sample_id) if notice else None
        return answer(request, filters, w, row, notice)

    @pages.post("/undo")
    def undo(request: Request, filters: FormFilters, w: Text) -> Response:
        row, notice = review.undo(w)
        return answer(request, filters, w, row, notice)


def _window_routes(pages: APIRouter, review: Review) -> None:
    """What open pages tell about themselves; nobody reads the answers."""

    @pages.post("/renew", status_code=204)
    def renew(w: Text, lease: Number) -> None:
        review.suspects.renew(w, lease)

    @pages.post("/release", status_code=204)
    def release(w: Text, lease: Number) -> None:
        review.suspects.release(w, lease)


def _file_pages(pages: APIRouter, review: Review) -> None:
    """Pictures, the type-ahead list, scripts and styles, the report."""

    @pages.get("/image")
    def image(
        sample_id: Annotated[str, Query(alias="id")], small: bool = False
    ) -> Response:
        # two sizes only, so that browsers and this machine keep what they made
        picture = review.picture(sample_id, THUMBNAIL if small else LARGE)
        return Response(picture, media_type="image/webp", headers=IMAGE_HEADERS)

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


def _bulk_pages(pages: APIRouter, review: Review, home: str) -> None:
    """Decisions about a whole pair of labels."""

    @pages.get("/bulk")
    def bulk(
        w: InQuery, given: InQuery, suggested: InQuery, above: Share = 0.9
    ) -> Response:
        return HTMLResponse(review.bulk_page(w, given, suggested, above))

    @pages.post("/bulk")
    def accept_all(
        w: Text,
        given: Text,
        suggested: Text,
        above: Annotated[float, Form()],
        count: Number,
    ) -> Response:
        if review.accept_all(w, given, suggested, above, count):
            # without filters: the pair that was filtered for is done
            return _go(home, w=w)
        # somebody decided meanwhile: show again what would happen
        return _go(home, "bulk", w=w, given=given, suggested=suggested, above=above)


def _history_pages(pages: APIRouter, review: Review, home: str) -> None:
    """What was decided."""

    @pages.get("/history")
    def history(w: InQuery) -> Response:
        return HTMLResponse(review.history_page(w))

    @pages.post("/history")
    def undo_one(w: Text, seq: Number) -> Response:
        review.undo_one(seq, w)
        return _go(home, "history", w=w)


def _audit_pages(pages: APIRouter, review: Review, home: str) -> None:
    """The random sample."""

    def answer(request: Request, w: str, notice: str) -> Response:
        if not _is_htmx(request):
            return _go(home, "audit", w=w)
        # the card alone: htmx puts it in place of the last one
        return HTMLResponse(review.audit_card(w, notice))

    @pages.get("/audit")
    def audit(w: InQuery = "") -> Response:
        if not w:
            return _go(home, "audit", w=secrets.token_hex(4))
        return HTMLResponse(review.audit_page(w))

    @pages.post("/audit")
    def write(request: Request, w: Text, sample_id: Text, verdict: Text) -> Response:
        return answer(request, w, review.answer(sample_id, verdict, w))

    @pages.post("/audit/undo")
    def undo(request: Request, w: Text) -> Response:
        return answer(request, w, review.undo(w)[1])
