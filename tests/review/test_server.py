"""Who may ask the review server, what others are told, and where it listens."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")
from fastapi.testclient import TestClient

from labelsieve.errors import RunError
from labelsieve.review.server import OPENER, Listening, Names, make_app, serve
from labelsieve.review.session import Review

TOKEN = "a-token"


def client_at(planted: Any, host: str, names: Names | None = None) -> TestClient:
    """A browser that opened the page under a host name."""
    app = make_app(Review(planted.run, background=False), TOKEN, names or Names())
    return TestClient(app, base_url=f"http://{host}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9000", "localhost:1", "LOCALHOST", "[::1]:80"]
)
def test_a_forwarded_port_works_without_options(planted: Any, host: str) -> None:
    client = client_at(planted, "127.0.0.1")
    headers = {"host": host, "origin": f"http://{host}"}
    assert client.get(f"/{TOKEN}/", headers={"host": host}).status_code == 200
    released = client.post(
        f"/{TOKEN}/release", data={"w": "w", "lease": "1"}, headers=headers
    )
    assert released.status_code == 204


def test_another_name_is_told_what_to_do(planted: Any) -> None:
    client = client_at(planted, "gpu7.example")
    refused = client.get(f"/{TOKEN}/")
    assert refused.status_code == 421
    assert "--allowed-host gpu7.example" in refused.text
    assert "default-src 'none'" in refused.headers["content-security-policy"]
    allowed = client_at(
        planted, "gpu7.example", Listening(allowed_hosts=("GPU7.example",)).names()
    )
    assert allowed.get(f"/{TOKEN}/").status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "[",
        "10.0.0.1",
        "evil.example@127.0.0.1",
        "@localhost:80",
        "localhost/x",
        "localhost?x",
    ],
)
def test_rebound_names_are_refused(host: str) -> None:
    assert not Names().accept(host)


def test_other_sites_and_guesses_are_told_what_to_do(planted: Any) -> None:
    client = client_at(planted, "localhost")
    foreign = {"origin": "http://evil.example"}
    refused = client.post(f"/{TOKEN}/undo", data={"w": "w"}, headers=foreign)
    assert refused.status_code == 403 and "new tab" in refused.text
    assert "labelsieve review printed" in client.get("/wrong/").text


def test_listening_elsewhere_answers_to_addresses_and_the_machine() -> None:
    everywhere = Listening(host="0.0.0.0")
    assert not everywhere.is_local
    assert everywhere.names().accept("192.168.1.7:8000")
    assert everywhere.names().accept(f"{socket.gethostname()}:8000")
    assert not everywhere.names().accept("evil.example:8000")
    assert everywhere.address(8000) == f"http://{socket.gethostname()}:8000"
    assert Listening(host="127.0.0.2").is_local
    assert Listening(host="::1").address(1) == "http://[::1]:1"


def test_a_taken_port_and_a_strange_interface_are_named(planted: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listening = Listening(port=taken.getsockname()[1])
        with pytest.raises(RunError, match=r"cannot be used.*--port"):
            serve(Review(planted.run), listening, tell=print)
    with pytest.raises(RunError, match="--host"):
        Listening(host="no.such.host.invalid").open()


def test_the_token_is_in_no_command_line(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser is started with the name of a file that only the user can read."""
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    told: list[str] = []
    launched: list[str] = []

    def launch(address: str) -> None:
        launched.append(address)
        path = Path(address.removeprefix("file://"))
        assert f'url={told[0]}"' in path.read_text()
        assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600

    serve(Review(planted.run), Listening(), launch=launch, tell=told.append)
    token = told[0].rstrip("/").rsplit("/", 1)[1]
    assert len(launched) == 1 and token not in launched[0]
    assert not (planted.folder / OPENER).exists()


def test_a_link_in_a_received_run_leads_to_no_file_of_the_user(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    mine = tmp_path / "profile"
    mine.write_text("mine")
    (planted.folder / OPENER).symlink_to(mine)
    written: list[str] = []

    def launch(address: str) -> None:
        written.append(mine.read_text())

    serve(Review(planted.run), Listening(), launch=launch, tell=lambda _: None)
    assert written == ["mine"] and mine.read_text() == "mine"
    assert not (planted.folder / OPENER).is_symlink()
