"""Serving the review pages to this machine alone: token, allowed hosts, headers."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from labelsieve.errors import RunError
from labelsieve.review.app import Handler, _pages
from labelsieve.review.session import Review
from labelsieve.runs.run import Run

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(review: Review, token: str, hosts: frozenset[str]) -> FastAPI:
    """The web application.

    Args:
        token: first part of every path.
        hosts: Host headers that are served, "127.0.0.1:8000".
    """
    app = FastAPI(
        title="labelsieve review", docs_url=None, redoc_url=None, openapi_url=None
    )
    app.include_router(_pages(review, token), prefix=f"/{token}")

    @app.middleware("http")
    async def guard(request: Request, call_next: Handler) -> Response:
        if request.headers.get("host", "") not in hosts:
            return PlainTextResponse("Wrong host.", 421)
        if not _same_site(request, hosts):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if not secrets.compare_digest(
            request.url.path.split("/")[1].encode(), token.encode()
        ):
            return PlainTextResponse(
                "Open the address that labelsieve review printed.", 404
            )
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _same_site(request: Request, hosts: frozenset[str]) -> bool:
    origin, site = (
        request.headers.get("origin"),
        request.headers.get("sec-fetch-site", "none"),
    )
    if request.method == "GET":
        return (
            site in ("none", "same-origin")
            or request.headers.get("sec-fetch-mode") == "navigate"
        )
    return (origin is None or origin in {f"http://{h}" for h in hosts}) and site in (
        "none",
        "same-origin",
    )


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
        raise RunError(
            f"Port {port} cannot be used: {error.strerror}.",
            "Choose another with --port.",
        ) from error
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = make_app(review, token, frozenset({f"127.0.0.1:{port}", f"localhost:{port}"}))
    tell(f"http://127.0.0.1:{port}/{token}/")
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(
        sockets=[listening]
    )
    review.decisions.close()
