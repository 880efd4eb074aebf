"""Serving the review pages: who may ask, under which names, and where the server listens.

It listens on this machine alone unless told otherwise, under a random token in its address.
Requests for another host name (DNS rebinding), from another site or without the token get
nothing but a word on what to do.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from labelsieve.errors import LabelsieveError, OptionError, RunError
from labelsieve.review.app import routes
from labelsieve.review.deciding import Changed, NotInRun
from labelsieve.review.session import Review

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
# nothing but this server's own files, and no other site around or behind the page
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OPENER = "review.html"  # in the run folder while the server runs
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Names:
    """Host names that the server answers to, whatever the port.

    The port is not compared, as a forwarded one (`ssh -L 9000:127.0.0.1:8000`) is another one
    than the server's; a page of another site cannot forge the name.

    Attributes:
        allowed: names, in lower case.
        any_address: any IP address in place of a name, too; a rebinding attack needs a name.
    """

    allowed: frozenset[str] = LOCAL
    any_address: bool = False

    def accept(self, host: str) -> bool:
        """Whether a Host header, "localhost:8000", names this server."""
        name = _name_of(host)
        return name in self.allowed or (self.any_address and _is_address(name))


def _name_of(host: str) -> str:
    """Host name of a Host header; empty where it is none."""
    try:
        parts = urlsplit(f"//{host}")
    except ValueError:
        return ""
    # it is a name and a port, and nothing more: not "evil.com@127.0.0.1", not "127.0.0.1/x"
    whole = parts.netloc == host and parts.username is None
    return (parts.hostname or "").lower() if whole else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def make_app(review: Review, token: str, names: Names) -> FastAPI:
    """The web application.

    Args:
        token: first part of every path.
        names: what Host headers may say.
    """
    app = FastAPI(
        # no pages of the framework: they would be found without the token
        title="labelsieve review",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    # the token is a part of every path, so no cookie can be sent along from another site
    app.include_router(routes(review, token), prefix=f"/{token}")

    @app.exception_handler(LabelsieveError)
    async def explain(request: Request, error: LabelsieveError) -> Response:
        status = {NotInRun: 404, OptionError: 422, Changed: 409}.get(type(error), 500)
        return PlainTextResponse(str(error), status)

    @app.middleware("http")
    async def guard(request: Request, call_next: Handler) -> Response:
        response = _refuse(request, token, names) or await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _refuse(request: Request, token: str, names: Names) -> Response | None:
    """What a request is told that may not be answered."""
    host = request.headers.get("host", "")
    if not names.accept(host):
        name = _name_of(host) or "NAME"
        return PlainTextResponse(
            f"labelsieve review does not answer to the name '{name}'. Open it as localhost, "
            f"for instance through a forwarded port, or start it with --allowed-host {name}.",
            421,
        )
    if not _same_site(request, host):
        return PlainTextResponse(
            "Requests from other sites are refused. Open the address that labelsieve review "
            "printed in a new tab.",
            403,
        )
    # all comparisons take equally long, so that answers say nothing about the token
    path = request.url.path.split("/")[1]
    if not secrets.compare_digest(path.encode(), token.encode()):
        return PlainTextResponse(
            "This is not the whole address. Open the one that labelsieve review printed, with "
            "the letters and digits after the last slash but one.",
            404,
        )
    return None


def _same_site(request: Request, host: str) -> bool:
    """Whether a request comes from a page of this server, or from a person."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    if request.method == "GET":
        # whoever follows a link or types the address navigates
        navigates = request.headers.get("sec-fetch-mode") == "navigate"
        return navigates or site in ("none", "same-origin")
    # behind a proxy that speaks TLS the origin is https
    own = (None, f"http://{host}", f"https://{host}")
    return origin in own and site in ("none", "same-origin")


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and what it may be called.

    Attributes:
        host: name or address of an interface of this machine.
        port: 0 takes a free one.
        allowed_hosts: more names that requests may use.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allowed_hosts: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine reaches the server."""
        return self.host.lower() in LOCAL or self.host.startswith("127.")

    def names(self) -> Names:
        """What the server answers to."""
        own = {self.host.lower(), *(name.lower() for name in self.allowed_hosts)}
        if not self.is_local:
            own |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        return Names(LOCAL | own, any_address=not self.is_local)

    def open(self) -> socket.socket:
        """The listening socket.

        Raises:
            RunError: there is no such interface, or the port is taken.
        """
        try:
            # a name may stand for an address of either version
            family = socket.getaddrinfo(self.host, self.port)[0][0]
            return socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            raise RunError(
                f"Port {self.port} of '{self.host}' cannot be used: {error.strerror}.",
                "Choose another with --port, or another interface with --host.",
            ) from error

    def address(self, port: int) -> str:
        """The server's address as a person opens it."""
        host = self.host
        # "all interfaces" is no address that can be opened
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    review: Review,
    listening: Listening,
    *,
    launch: Callable[[str], object] | None = None,
    tell: Callable[[str], None],
) -> None:
    """Serve the review page of a run until interrupted.

    Args:
        launch: opens an address in a browser; None leaves that to the person.
        tell: gets the address once, before the first request can be answered.

    Raises:
        RunError: the port cannot be used.
    """
    # 192 bits: not to be guessed
    token = secrets.token_urlsafe(24)
    with contextlib.ExitStack() as closing:
        closing.callback(review.decisions.close)
        opened = closing.enter_context(listening.open())
        address = f"{listening.address(opened.getsockname()[1])}/{token}/"
        app = make_app(review, token, listening.names())
        tell(address)
        if launch is not None:
            path = closing.enter_context(_opener(address, review.opened.folder))
            launch(path.as_uri())
        # access logs would hold the token
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[opened])


@contextlib.contextmanager
def _opener(address: str, folder: Path) -> Iterator[Path]:
    """A file that leads a browser to an address.

    Everybody on a machine can read the words that a program was started with, and the token is
    all that keeps others out; the file is the user's alone.
    """
    # in the run folder: browsers in a sandbox do not see folders for temporary files;
    # only the folder is resolved: a link by this name in a received run is itself replaced
    path = folder.resolve() / OPENER
    path.unlink(missing_ok=True)
    created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(created, "w", encoding="utf-8") as file:
        file.write(f'<meta http-equiv="refresh" content="0; url={address}">\n')
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
