"""Servers on this machine: of the web, and of objects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated
from fixtures.servers import Server

from labelsieve.data.sources import _remote


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(_remote, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("LABELSIEVE_STATE", str(tmp_path / "state"))
    _remote.remote_of.cache_clear()
    (tmp_path / "web").mkdir()
    annotated.pictures(tmp_path / "web")
    server = Server(tmp_path / "web")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of a real S3 server on this machine."""
    pytest.importorskip("s3fs", reason="needs the extra remote")
    moto = pytest.importorskip("moto.server", reason="needs moto")
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setattr(_remote, "FIRST_WAIT", 0.01)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    # buckets outlive the servers of one process
    if system.exists("pictures"):
        system.rm("pictures", recursive=True)
    system.mkdir("pictures")
    yield system
    server.stop()
