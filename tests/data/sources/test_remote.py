"""Pictures on a web server and on an object store, both real ones on this machine."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated
from fixtures.servers import Server

import labelsieve
from labelsieve.data.sources import Row, _remote, _web, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, MissingExtra, RunError
from labelsieve.runs.pictures import open_pictures, spec_of

pytest.importorskip("aiohttp", reason="needs the extra remote")


def table(folder: Path, *images: str) -> Path:
    lines = [
        "image,label",
        *(f'"{image}",{"ab"[n % 2]}' for n, image in enumerate(images)),
    ]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def rows(data: Any, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(data), **options)).rows())


def reason(row: Row) -> str:
    with pytest.raises(ImageError) as caught:
        row.image.read_bytes()
    return str(caught.value)


def test_hosts_that_data_name_are_asked_for(server: Server, tmp_path: Path) -> None:
    path = table(tmp_path, f"{server.url}/1.png")
    host = server.url.removeprefix("http://")
    with pytest.raises(DataError) as caught:
        rows(path)
    assert str(caught.value) == (
        f"The data name pictures on '{host}', such as '{server.url}/1.png'. "
        f"Allow that with --urls {host}."
    )
    assert not server.asked
    (row,) = rows(path, urls=f"other.org, {host}")
    assert row.image.read_bytes() == annotated.paint(annotated.SQUARES["1.png"])
    assert row.key == row.path == row.uri == f"{server.url}/1.png"
    source = open_source(DataSpec(path, urls=host))
    assert source.read(row.uri) == row.image.read_bytes()


def test_every_failure_is_told_by_row(server: Server, tmp_path: Path) -> None:
    names = ["gone/1.png", "secret/1.png", "busy/1.png", "to/1.png", "1.png"]
    path = table(tmp_path, *(f"{server.url}/{name}" for name in names))
    gone, secret, busy, moved, good = rows(path, urls=_remote.host_of(server.url))
    assert reason(gone) == "not found" and server.asked["/gone/1.png"] == 1
    assert reason(secret) == "the server answered 403"
    # twice busy, then there
    assert busy.image.read_bytes() == good.image.read_bytes()
    assert server.asked["/busy/1.png"] == 3
    assert moved.image.read_bytes() == good.image.read_bytes()


def test_redirects_stay_on_hosts_that_were_named(
    server: Server, tmp_path: Path
) -> None:
    evil = f"http://localhost:{server.server_port}/1.png"
    path = table(tmp_path, f"{server.url}/to/{evil}")
    (row,) = rows(path, urls=_remote.host_of(server.url))
    assert "leads on to 'localhost" in reason(row)
    assert "/1.png" not in server.asked


def test_no_other_header_leads_anywhere(server: Server, tmp_path: Path) -> None:
    evil = f"http://localhost:{server.server_port}/1.png"
    path = table(tmp_path, f"{server.url}/uri/{evil}")
    (row,) = rows(path, urls=_remote.host_of(server.url))
    assert reason(row) == "the server answered 302"
    # neither for a table
    with pytest.raises(DataError, match="the server answered 302"):
        rows(f"{server.url}/uri/{evil}/t.csv")
    with pytest.raises(DataError, match="it leads on to 'localhost"):
        rows(f"{server.url}/to/http://localhost:{server.server_port}/t.csv")
    assert not {name for name in server.asked if name in ("/1.png", "/t.csv")}


def test_redirects_end(server: Server, tmp_path: Path) -> None:
    remote = _remote.Remote({_remote.host_of(server.url)})
    most = "to/" * _web.MOST_REDIRECTS
    assert remote.fetch(f"{server.url}/{most}1.png")
    with pytest.raises(ImageError, match="more than 5 times"):
        remote.fetch(f"{server.url}/to/{most}1.png")


@pytest.mark.parametrize("url", ["http://[/x.png", "http:///x.png"])
def test_a_url_without_a_host_is_a_fault_of_its_row(
    server: Server, tmp_path: Path, url: str
) -> None:
    path = table(tmp_path, f"{server.url}/1.png", url)
    good, bad = rows(path, urls=_remote.host_of(server.url))
    assert good.image.read_bytes()
    assert reason(bad) == f"'{url}' names no host"
    with pytest.raises(DataError, match="names no host"):
        rows(url.replace("png", "csv"))
    with pytest.raises(DataError, match="names no host"):
        rows(path, root="http://[/x")


def test_a_missing_library_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it was tried again"))
    _remote.remote_of.cache_clear()
    path = table(tmp_path, "http://a.example/1.png")
    with pytest.raises(MissingExtra) as caught:
        rows(path, urls="a.example")
    assert str(caught.value).endswith("pip install 'labelsieve[remote]'.")


def test_a_server_that_is_not_there(tmp_path: Path, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = table(tmp_path, f"http://127.0.0.1:{port}/1.png")
    (row,) = rows(path, urls=f"127.0.0.1:{port}")
    assert "cannot be fetched" in reason(row)


def test_pictures_are_fetched_side_by_side_but_not_all_at_once(
    server: Server, tmp_path: Path
) -> None:
    path = table(tmp_path, *(f"{server.url}/slow/1.png?{n}" for n in range(64)))
    (tmp_path / "web" / "slow").mkdir()
    found = rows(path, urls=_remote.host_of(server.url))
    for number in range(64):
        name = f"1.png?{number}"
        (tmp_path / "web" / name).write_bytes(b"x")
    for row in found:
        row.image.begin()
    assert {row.image.read_bytes() for row in found} == {b"x"}
    assert 4 <= server.most <= _remote.CONNECTIONS


def test_a_picture_that_never_ends_is_cut(server: Server, tmp_path: Path) -> None:
    remote = _remote.Remote({_remote.host_of(server.url)})
    (tmp_path / "web" / "large").write_bytes(bytes(5000))
    assert len(remote.fetch(f"{server.url}/large", most=1000)) == 1001


def test_a_table_on_a_server_names_pictures_beside_it(
    server: Server, tmp_path: Path
) -> None:
    table(tmp_path / "web", "1.png", "./sub/2.png", "../1.png", "/1.png")
    found = rows(f"{server.url}/t.csv")
    assert [r.label for r in found] == ["a", "b", "a", "b"]
    first, second, *outside = found
    assert first.image.read_bytes() == annotated.paint(annotated.SQUARES["1.png"])
    assert second.image.read_bytes() == annotated.paint(annotated.SQUARES["sub/2.png"])
    for row in outside:
        assert reason(row) == "it leads out of the data"
    with pytest.raises(DataError, match=r"x\.csv': not found"):
        rows(f"{server.url}/gone/x.csv")
    with pytest.raises(DataError, match=r"is a folder of a web server, which cannot"):
        rows(f"{server.url}/photos")


def test_a_scan_reads_them_and_lists_what_failed(
    server: Server, tmp_path: Path
) -> None:
    names = [*annotated.SQUARES, "gone/1.png"]
    path = table(tmp_path, *(f"{server.url}/{name}" for name in names))
    host = _remote.host_of(server.url)
    run = labelsieve.scan(
        labelsieve.load(path, urls=host),
        output=tmp_path / "run",
        method="zero-shot",
        model="tiny",
    )
    status = {r["path"]: r["reason"] for r in run.manifest.to_pylist()}
    assert status.pop(f"{server.url}/gone/1.png") == "not found"
    assert len(status) == 4 and not any(status.values())
    # the user's own run shows its pictures again; a stranger's asks first
    pictures = open_pictures(run)
    sample_id = next(i for i in run.scores["sample_id"].to_pylist() if "sub/2" in i)
    assert pictures.read(sample_id) == annotated.paint(annotated.SQUARES["sub/2.png"])
    os.environ["LABELSIEVE_STATE"] = str(tmp_path / "nobody")
    with pytest.raises(RunError, match=rf"names pictures on '{host}', which you have"):
        spec_of(run)


# --- object stores


def test_class_folders_in_a_bucket(bucket: Any) -> None:
    for name in ("cat/1.png", "cat/a b.png", "dog/2.png", "dog/notes.txt"):
        bucket.pipe(f"pictures/set/{name}", name.encode())
    source = open_source(DataSpec("s3://pictures/set"))
    found = list(source.rows())
    assert [(r.key, r.label) for r in found] == [
        ("cat/1.png", "cat"),
        ("cat/a b.png", "cat"),
        ("dog/2.png", "dog"),
    ]
    for row in found:
        assert row.image.read_bytes() == row.key.encode() == source.read(row.uri)
    assert source.notes == ["1 file in 's3://pictures/set' is no image by the suffix"]


def test_tables_and_roots_in_a_bucket(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("pictures/a/1.png", b"one")
    bucket.pipe("pictures/t.csv", b"image,label\na/1.png,x\na/2.png,y\n")
    first, second = rows("s3://pictures/t.csv")
    assert first.image.read_bytes() == b"one"
    assert reason(second) == "not found"
    path = table(tmp_path, "1.png", "s3://pictures/a/1.png")
    first, second = rows(path, root="s3://pictures/a", urls="pictures")
    assert first.image.read_bytes() == second.image.read_bytes() == b"one"
