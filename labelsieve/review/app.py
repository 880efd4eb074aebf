"""The review page: a local web application in which people decide about suspicious labels, keyboard first.

It listens on the loopback interface only, under a random token in its address; requests with another Host (DNS
rebinding), another Origin (other sites) or no token get nothing. Pictures are served by sample id, encoded anew, never by
path. Every decision is on disk before the page answers.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from labelsieve.review.queue import Filters
from labelsieve.review.session import SMALL, Review, said, to_query
from labelsieve.runs import report
from labelsieve.runs.pages import ASSETS
from labelsieve.runs.pictures import LARGE

SHOWN = 200  # pictures of a bulk decision
FILES = {
    "htmx.js": ("vendor/htmx.min.js", "text/javascript"),
    "review.js": ("review/review.js", "text/javascript"),
    "style.css": ("style.css", "text/css"),
    "review.css": ("review/review.css", "text/css"),
}
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
Handler = Callable[[Request], Awaitable[Response]]
Text = Annotated[str, Form()]
Given = Annotated[str, Query()]


def _filters(given: str, suggested: str, least: float, everything: str) -> Filters:
    return Filters(
        given or None, suggested or None, least, everything not in ("", "False", "0")
    )


def _pages(review: Review, token: str) -> APIRouter:
    pages = APIRouter()
    home = f"/{token}/"

    @pages.get("/")
    def index(
        request: Request,
        w: Given = "",
        given: Given = "",
        suggested: Given = "",
        least: Annotated[float, Query(ge=0, le=1)] = 0.0,
        everything: Given = "",
    ) -> Response:
        filters = _filters(given, suggested, least, everything)
        if not w:
            return RedirectResponse(
                home + "?" + to_query(filters, secrets.token_hex(4)), 303
            )
        return review.page(
            "page",
            **review.stage(filters, w),
            classes=review.suspects.classes,
            pairs=review.suspects.pairs()[:200],
        )

    @pages.post("/decide")
    def decide(
        request: Request,
        sample_id: Text,
        verdict: Text,
        w: Text,
        seen: Annotated[int, Form()] = 0,
        label: Text = "",
        given: Text = "",
        suggested: Text = "",
        least: Annotated[float, Form(ge=0, le=1)] = 0.0,
        everything: Text = "",
    ) -> Response:
        notice = review.decide(sample_id, verdict, label, w, seen)
        filters = _filters(given, suggested, least, everything)
        return _card(
            request, filters, w, notice, review.row(sample_id) if notice else None
        )

    @pages.post("/undo")
    def undo(
        request: Request,
        w: Text,
        given: Text = "",
        suggested: Text = "",
        least: Annotated[float, Form(ge=0, le=1)] = 0.0,
        everything: Text = "",
    ) -> Response:
        undone, words = review.undo(w)
        row = review.suspects.at.get(undone[0].sample_id) if undone else None
        return _card(
            request, _filters(given, suggested, least, everything), w, words, row
        )

    def _card(
        request: Request, filters: Filters, w: str, notice: str, row: int | None
    ) -> Response:
        if "hx-request" not in request.headers:
            return RedirectResponse(home + "?" + to_query(filters, w), 303)
        return review.page("stage", **review.stage(filters, w, row=row, notice=notice))

    _file_pages(pages, review)
    _bulk_pages(pages, review, home)
    _audit_pages(pages, review, home)
    return pages


def _file_pages(pages: APIRouter, review: Review) -> None:
    """Pictures, the type-ahead list, our own files, the report."""

    @pages.get("/image")
    def image(
        sample_id: Annotated[str, Query(alias="id")], small: bool = False
    ) -> Response:
        return review.picture(sample_id, SMALL if small else LARGE)

    @pages.get("/classes")
    def classes(q: Given = "") -> Response:
        return review.page("options", options=review.suspects.search(q))

    @pages.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "No such file.")
        file, kind = FILES[name]
        return Response((ASSETS / file).read_bytes(), media_type=kind)

    @pages.get("/report")
    def show_report() -> Response:
        with review.reporting:
            html = report.write(review.opened, review.pictures).read_text(
                encoding="utf-8"
            )
        return HTMLResponse(html, headers={"Content-Security-Policy": REPORT_POLICY})


def _bulk_pages(pages: APIRouter, review: Review, home: str) -> None:
    """Decisions about a whole pair of labels, and the history."""

    @pages.get("/bulk")
    def bulk(
        w: Given,
        given: Given,
        suggested: Given,
        above: Annotated[float, Query(ge=0, le=1)] = 0.9,
    ) -> Response:
        rows = review.suspects.bulk(given, suggested, above)
        shown = [review.suspects.rows[r] for r in rows[:SHOWN]]
        return review.page(
            "bulk",
            w=w,
            given=given,
            suggested=suggested,
            above=above,
            count=len(rows),
            shown=shown,
        )

    @pages.post("/bulk")
    def accept_all(
        w: Text,
        given: Text,
        suggested: Text,
        above: Annotated[float, Form()],
        count: Annotated[int, Form()],
    ) -> Response:
        rows = review.suspects.bulk(given, suggested, above)
        if (
            len(rows) != count
        ):  # somebody decided meanwhile: show again what would happen
            return RedirectResponse(
                home
                + "bulk?"
                + urlencode(
                    {"w": w, "given": given, "suggested": suggested, "above": above}
                ),
                303,
            )
        wanted = [
            (review.suspects.rows[r]["sample_id"], "accept", suggested) for r in rows
        ]
        review.decisions.add_all(wanted, by=w, batch=secrets.token_hex(8))
        review.learn()
        return RedirectResponse(home + "?" + to_query(Filters(), w), 303)

    @pages.get("/history")
    def history(w: Given) -> Response:
        rows = [
            {
                "decision": d,
                "open": can,
                "words": said(d.verdict, d.label),
                "about": review.suspects.rows[review.suspects.at[d.sample_id]],
            }
            for d, can in review.decisions.history(200)
            if d.sample_id in review.suspects.at
        ]
        return review.page("history", rows=rows, w=w)

    @pages.post("/history")
    def undo_one(w: Text, seq: Annotated[int, Form()]) -> Response:
        review.decisions.undo_one(seq, w)
        review.learn()
        return RedirectResponse(home + "history?" + urlencode({"w": w}), 303)


def _audit_pages(pages: APIRouter, review: Review, home: str) -> None:
    """The random sample."""

    def show(request: Request, w: str, notice: str) -> Response:
        if "hx-request" not in request.headers:
            return RedirectResponse(home + "audit?" + urlencode({"w": w}), 303)
        return review.page("audit_stage", **state(w), notice=notice)

    def state(w: str) -> dict[str, Any]:
        found = review.suspects.audit_state(w)
        row = (
            None
            if found["next"] is None
            else review.suspects.rows[review.suspects.at[found["next"]]]
        )
        return {"audit": found, "card": row, "w": w, "model": review.opened.noise}

    @pages.get("/audit")
    def audit(w: Given = "") -> Response:
        if not w:
            return RedirectResponse(
                home + "audit?" + urlencode({"w": secrets.token_hex(4)}), 303
            )
        return review.page("audit", **state(w), notice="")

    @pages.post("/audit")
    def answer(request: Request, w: Text, sample_id: Text, verdict: Text) -> Response:
        if verdict not in ("keep", "wrong", "skip"):
            raise HTTPException(422, "An audit is answered with keep, wrong or skip.")
        review.row(sample_id)
        return show(request, w, review.write(sample_id, verdict, "", w, seen=0))

    @pages.post("/audit/undo")
    def undo_answer(request: Request, w: Text) -> Response:
        return show(request, w, review.undo(w)[1])
