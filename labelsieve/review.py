"""The review page: a local web application in which people decide about suspicious labels, keyboard first.

It listens on the loopback interface only, under a random token in its address; requests with another Host (DNS
rebinding), another Origin (other sites) or no token get nothing. Pictures are served by sample id, encoded anew, never by
path. Every decision is on disk before the page answers.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlencode

import uvicorn
from fastapi import APIRouter, FastAPI, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from labelsieve import report
from labelsieve.decisions import Conflict, Decision, Decisions
from labelsieve.errors import OptionError, RunError
from labelsieve.pictures import LARGE, Images, open_pictures, webp
from labelsieve.run import Run
from labelsieve.suspects import Filters, Suspects

SMALL = 160
SHOWN = 200  # pictures of a bulk decision
FILES = {
    "htmx.js": ("vendor/htmx.min.js", "text/javascript"),
    "review.js": ("review/review.js", "text/javascript"),
    "style.css": ("style.css", "text/css"),
    "review.css": ("review/review.css", "text/css"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
Handler = Callable[[Request], Awaitable[Response]]
Text = Annotated[str, Form()]
Given = Annotated[str, Query()]


class Review:
    """One run under review: what the pages show, and what they write.

    Args:
        opened: a finished run.
        background: refine the ranking in a thread of its own, so that no answer waits for it.
    """

    def __init__(self, opened: Run, *, background: bool = True) -> None:
        if not opened.finished:
            raise RunError(f"'{opened.folder}' is not finished.", "Run labelsieve scan again; it continues.")
        self.opened = opened
        self.pictures: Images = open_pictures(opened)
        self.decisions = Decisions(opened.folder)
        self.suspects = Suspects(opened, self.decisions)
        self._templates = report.environment()
        self._background = background
        self._refining = threading.Lock()
        self.reporting = threading.Lock()  # one at a time writes report.html

    def page(self, name: str, **values: Any) -> HTMLResponse:
        """A template of assets/review, filled in."""
        return HTMLResponse(self._templates.get_template(f"review/{name}.html.j2").render(**values))

    def learn(self) -> None:
        """Refine the ranking when enough decisions came in."""
        if not self._background:
            self.suspects.refine_if_due()
        elif self._refining.acquire(blocking=False):
            threading.Thread(target=self._learn, daemon=True).start()

    def _learn(self) -> None:
        try:
            self.suspects.refine_if_due()
        finally:
            self._refining.release()

    def stage(self, filters: Filters, window: str, *, row: int | None = None, notice: str = "") -> dict[str, Any]:
        """What the card shows: the next suspect (or `row`), the reasons, progress."""
        rows = self.suspects.find(filters, window, 2)
        if row is not None:
            rows = [row, *(r for r in rows if r != row)][:2]
        shown = self.suspects.rows[rows[0]] if rows else None
        now = self.decisions.current(shown["sample_id"]) if shown else None
        alike = self.suspects.alike
        near = (
            [
                {"label": label, "ids": alike.nearest(shown["sample_id"], label)}
                for label in dict.fromkeys([shown["given_label"], shown["suggested_label"]])
            ]
            if shown and alike
            else []
        )
        return {
            "card": shown, "p_wrong": float(self.suspects.p_wrong[rows[0]]) if rows else 0.0, "near": near, "seen": now.seq if now else 0,
            "now": said(now.verdict, now.label) if now else "", "upcoming": self.suspects.rows[rows[1]]["sample_id"] if len(rows) > 1 else None,
            "progress": self.suspects.progress(filters), "filters": filters, "w": window, "notice": notice,
            "reasons": report.reasons(shown) if shown else None, "query": to_query(filters, window),
        }  # fmt: skip

    def decide(self, sample_id: str, verdict: str, label: str, window: str, seen: int) -> str:
        """Write one decision; gives a notice when somebody else was faster."""
        row = self.row(sample_id)
        about = self.suspects.rows[row]
        if verdict == "other" and label not in self.suspects.at_class:
            raise HTTPException(422, f"'{label}' is no class of this data set.")
        if verdict == "accept":
            label = about["suggested_label"]
        if verdict in ("accept", "other") and label == about["given_label"]:
            verdict = "keep"
        return self.write(sample_id, verdict, label, window, seen)

    def write(self, sample_id: str, verdict: str, label: str, window: str, seen: int) -> str:
        """A decision to the disk; gives a notice instead when somebody else was faster."""
        try:
            self.decisions.add(sample_id, verdict, label or None, by=window, seen=seen)
        except Conflict as conflict:
            return f"{conflict.what} It holds: {said(conflict.now.verdict, conflict.now.label) if conflict.now else 'undone'}."
        except OptionError as error:
            raise HTTPException(422, str(error)) from error
        self.learn()
        return ""

    def undo(self, window: str) -> tuple[list[Decision], str]:
        """Take back the latest decision of a window; gives what was undone, and that in words."""
        undone = self.decisions.undo(window)
        self.learn()
        if not undone:
            return undone, "Nothing to undo in this window."
        return undone, "1 decision was undone." if len(undone) == 1 else f"{len(undone)} decisions were undone."

    def row(self, sample_id: str) -> int:
        """Row of an image of this run; 404 for everything else."""
        row = self.suspects.at.get(sample_id)
        if row is None:
            raise HTTPException(404, "No such image in this run.")
        return row

    def picture(self, sample_id: str, side: int) -> Response:
        """An image of this run, encoded anew."""
        if sample_id not in self.pictures:
            raise HTTPException(404, "No such image in this run.")
        found = webp(self.pictures, sample_id, side, quality=90)
        if found is None:
            raise HTTPException(404, "The image cannot be read.")
        return Response(found, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600, immutable"})


def said(verdict: str, label: str | None) -> str:
    """A verdict in words."""
    words = {"keep": "the label is right", "accept": f"it is {label}", "other": f"it is {label}", "none": "no class fits",
             "wrong": "the label is wrong", "skip": "skipped", "undo": "undone"}  # fmt: skip
    return words[verdict]


def to_query(filters: Filters, window: str) -> str:
    """Filters and window as the query of an address."""
    return urlencode({"w": window, **{k: v for k, v in asdict(filters).items() if v}})


def _filters(given: str, suggested: str, least: float, everything: str) -> Filters:
    return Filters(given or None, suggested or None, least, everything not in ("", "False", "0"))


def make_app(review: Review, token: str, hosts: frozenset[str]) -> FastAPI:
    """The web application.

    Args:
        token: first part of every path.
        hosts: Host headers that are served, "127.0.0.1:8000".
    """
    app = FastAPI(title="labelsieve review", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_pages(review, token), prefix=f"/{token}")

    @app.middleware("http")
    async def guard(request: Request, call_next: Handler) -> Response:
        if request.headers.get("host", "") not in hosts:
            return PlainTextResponse("Wrong host.", 421)
        if not _same_site(request, hosts):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if not secrets.compare_digest(request.url.path.split("/")[1].encode(), token.encode()):
            return PlainTextResponse("Open the address that labelsieve review printed.", 404)
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _same_site(request: Request, hosts: frozenset[str]) -> bool:
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    if request.method == "GET":
        return site in ("none", "same-origin") or request.headers.get("sec-fetch-mode") == "navigate"
    return (origin is None or origin in {f"http://{h}" for h in hosts}) and site in ("none", "same-origin")


def _pages(review: Review, token: str) -> APIRouter:
    pages = APIRouter()
    home = f"/{token}/"

    @pages.get("/")
    def index(
        request: Request, w: Given = "", given: Given = "", suggested: Given = "", least: Annotated[float, Query(ge=0, le=1)] = 0.0,
        everything: Given = "",
    ) -> Response:  # fmt: skip
        filters = _filters(given, suggested, least, everything)
        if not w:
            return RedirectResponse(home + "?" + to_query(filters, secrets.token_hex(4)), 303)
        return review.page(
            "page", **review.stage(filters, w), classes=review.suspects.classes, pairs=review.suspects.pairs()[:200]
        )

    @pages.post("/decide")
    def decide(
        request: Request, sample_id: Text, verdict: Text, w: Text, seen: Annotated[int, Form()] = 0, label: Text = "", given: Text = "",
        suggested: Text = "", least: Annotated[float, Form(ge=0, le=1)] = 0.0, everything: Text = "",
    ) -> Response:  # fmt: skip
        notice = review.decide(sample_id, verdict, label, w, seen)
        filters = _filters(given, suggested, least, everything)
        return _card(request, filters, w, notice, review.row(sample_id) if notice else None)

    @pages.post("/undo")
    def undo(
        request: Request, w: Text, given: Text = "", suggested: Text = "", least: Annotated[float, Form(ge=0, le=1)] = 0.0, everything: Text = "",
    ) -> Response:  # fmt: skip
        undone, words = review.undo(w)
        row = review.suspects.at.get(undone[0].sample_id) if undone else None
        return _card(request, _filters(given, suggested, least, everything), w, words, row)

    def _card(request: Request, filters: Filters, w: str, notice: str, row: int | None) -> Response:
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
    def image(sample_id: Annotated[str, Query(alias="id")], small: bool = False) -> Response:
        return review.picture(sample_id, SMALL if small else LARGE)

    @pages.get("/classes")
    def classes(q: Given = "") -> Response:
        return review.page("options", options=review.suspects.search(q))

    @pages.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "No such file.")
        file, kind = FILES[name]
        return Response((report.ASSETS / file).read_bytes(), media_type=kind)

    @pages.get("/report")
    def show_report() -> Response:
        with review.reporting:
            html = report.write(review.opened, review.pictures).read_text(encoding="utf-8")
        return HTMLResponse(html, headers={"Content-Security-Policy": REPORT_POLICY})


def _bulk_pages(pages: APIRouter, review: Review, home: str) -> None:
    """Decisions about a whole pair of labels, and the history."""

    @pages.get("/bulk")
    def bulk(w: Given, given: Given, suggested: Given, above: Annotated[float, Query(ge=0, le=1)] = 0.9) -> Response:
        rows = review.suspects.bulk(given, suggested, above)
        shown = [review.suspects.rows[r] for r in rows[:SHOWN]]
        return review.page("bulk", w=w, given=given, suggested=suggested, above=above, count=len(rows), shown=shown)

    @pages.post("/bulk")
    def accept_all(
        w: Text, given: Text, suggested: Text, above: Annotated[float, Form()], count: Annotated[int, Form()]
    ) -> Response:
        rows = review.suspects.bulk(given, suggested, above)
        if len(rows) != count:  # somebody decided meanwhile: show again what would happen
            return RedirectResponse(
                home + "bulk?" + urlencode({"w": w, "given": given, "suggested": suggested, "above": above}), 303
            )
        wanted = [(review.suspects.rows[r]["sample_id"], "accept", suggested) for r in rows]
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
        row = None if found["next"] is None else review.suspects.rows[review.suspects.at[found["next"]]]
        return {"audit": found, "card": row, "w": w, "model": review.opened.noise}

    @pages.get("/audit")
    def audit(w: Given = "") -> Response:
        if not w:
            return RedirectResponse(home + "audit?" + urlencode({"w": secrets.token_hex(4)}), 303)
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


def serve(opened: Run, *, port: int = 0, tell: Callable[[str], None]) -> None:
    """Serve the review page of a run until interrupted.

    Args:
        port: 0 takes a free one.
        tell: gets the address once, before the first request can be answered.

    Raises:
        RunError: the run is not finished, or the port is taken.
    """
    review = Review(opened)
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise RunError(f"Port {port} cannot be used: {error.strerror}.", "Choose another with --port.") from error
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = make_app(review, token, frozenset({f"127.0.0.1:{port}", f"localhost:{port}"}))
    tell(f"http://127.0.0.1:{port}/{token}/")
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
    review.decisions.close()
