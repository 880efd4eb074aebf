"""What is kept of other machines: nothing comes twice that did not change, no damage is read."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated
from fixtures.servers import Server
from typer.testing import CliRunner

import labelsieve
from labelsieve import cache, progress
from labelsieve.cli.app import app
from labelsieve.data.sources import _downloads, _remote, open_source
from labelsieve.data.sources._downloads import Downloads, unasked
from labelsieve.data.spec import DataSpec
from labelsieve.report import page
from labelsieve.runs.pictures import open_pictures

pytest.importorskip("aiohttp", reason="needs the extra remote")
URL = "https://images.example/1.png?token=secret"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test alone."""
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    progress.be_quiet(False)
    yield tmp_path / "cache" / "downloads"
    progress.be_quiet(True)
    _downloads.opened.cache_clear()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fetched(server: Server, *names: str) -> list[bytes]:
    remote = _remote.Remote({_remote.host_of(server.url)})
    return [remote.fetch(f"{server.url}/{name}") for name in names]


@pytest.mark.parametrize("stamp", ["ETag", "Last-Modified"])
def test_only_what_changed_is_sent_again(server: Server, stamp: str) -> None:
    server.stamp = stamp
    file = server.folder / "1.png"
    os.utime(file, (1e9, 1e9))
    (first,) = fetched(server, "1.png")
    assert fetched(server, "1.png", "1.png") == [first, first]
    # asked each time, sent once
    assert server.asked["/1.png"] == 3 and server.sent["/1.png"] == 1
    file.write_bytes(annotated.paint(annotated.SQUARES["4.png"]))
    os.utime(file, (2e9, 1.1e9))
    assert fetched(server, "1.png") == [file.read_bytes()] != [first]
    assert server.sent["/1.png"] == 2
    with unasked() as taken:
        assert fetched(server, "1.png") == [file.read_bytes()]
    assert server.asked["/1.png"] == 4 and taken == [f"{server.url}/1.png"]


def test_what_may_change_unseen_is_not_kept(server: Server, own: Path) -> None:
    # no version at all; one of this very second; and what must not be stored
    fetched(server, "1.png")
    server.stamp = "Last-Modified"
    os.utime(server.folder / "1.png")
    fetched(server, "1.png")
    server.stamp, server.headers = "ETag", {"Cache-Control": "private, no-store"}
    fetched(server, "1.png")
    assert server.sent["/1.png"] == 3 and not files(own)


def test_versions_belong_to_where_a_redirect_leads(server: Server) -> None:
    server.stamp = "ETag"
    first, again = fetched(server, "to/1.png", "to/1.png")
    assert first == again and server.sent["/1.png"] == 1
    # the tag of one place says nothing at another
    kept = _downloads.of_cache().find(f"{server.url}/to/1.png")
    assert kept is not None
    _downloads.of_cache().put(f"{server.url}/3.png", kept.stamp, b"of another")
    assert fetched(server, "3.png") == [(server.folder / "3.png").read_bytes()]


def test_they_are_for_their_owner_and_name_no_url(own: Path) -> None:
    downloads = Downloads(own)
    downloads.put(URL, {"etag": "1"}, b"picture")
    (file,) = files(own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in file.read_bytes() and b"example" not in file.read_bytes()
    found = downloads.find(URL)
    assert (
        found is not None and found.data == b"picture" and found.stamp == {"etag": "1"}
    )


def test_damage_is_fetched_again(
    server: Server, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stamp = "ETag"
    (right,) = fetched(server, "1.png")
    (file,) = files(own)
    whole = file.read_bytes()
    # every byte of it, also of the line and of the digest; then less and more of them
    damaged = [
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        for at in range(len(whole))
    ]
    for number, content in enumerate([*damaged, b"", whole[:-1], whole + b"\0"]):
        file.write_bytes(content)
        if number % 40 and content:
            assert _downloads.of_cache().find(f"{server.url}/1.png") is None
        else:
            assert fetched(server, "1.png") == [right] and file.read_bytes() == whole
    assert capsys.readouterr().err.count("damaged") == 1


def test_a_picture_of_another_url_is_none_of_this_one(own: Path) -> None:
    downloads = Downloads(own)
    downloads.put("https://a.example/1", {"etag": "1"}, b"one")
    downloads.put("https://a.example/2", {"etag": "1"}, b"two")
    first, second = files(own)
    first.write_bytes(second.read_bytes())
    found = [downloads.find(f"https://a.example/{n}") for n in (1, 2)]
    assert sum(f is not None for f in found) == 1


def test_the_oldest_go_and_what_this_run_uses_stays(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Downloads(own)
    for number in range(8):
        old.put(f"https://a.example/{number}", {"etag": "1"}, bytes(1000))
    for file in files(own):
        os.utime(file, (1e9, 1e9))
    size = files(own)[0].stat().st_size
    downloads = Downloads(own, room=8 * size)
    assert downloads.find("https://a.example/3") is not None
    downloads.put("https://a.example/new", {"etag": "1"}, bytes(1000))
    there = [n for n in (*range(8), "new") if downloads.find(f"https://a.example/{n}")]
    assert 3 in there and "new" in there and len(there) <= 7
    # more than there is room for: what was kept by this run is not pushed out again
    for number in range(20):
        downloads.put(f"https://b.example/{number}", {"etag": "1"}, bytes(1000))
    assert sum(file.stat().st_size for file in files(own)) <= 8 * size
    assert downloads.find("https://b.example/0") and not downloads.find(
        "https://b.example/19"
    )
    assert capsys.readouterr().err.count("The cache of downloads is full") == 1


@pytest.mark.parametrize("room", ["0", "1e-9"])
def test_nothing_is_kept_without_room(
    server: Server, own: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    monkeypatch.setenv("LABELSIEVE_DOWNLOADS_GB", room)
    server.stamp = "ETag"
    fetched(server, "1.png", "1.png")
    assert server.sent["/1.png"] == 2 and not files(own)


def test_a_folder_that_cannot_be_made_stops_nothing(server: Server, own: Path) -> None:
    server.stamp = "ETag"
    own.parent.mkdir()
    own.write_text("a file in its place")
    assert len(set(fetched(server, "1.png", "1.png"))) == 1


def test_scan_report_and_review_read_nothing_twice(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stamp = "ETag"
    names = list(annotated.SQUARES)
    lines = [f"{server.url}/{name},{'ab'[n % 2]}\n" for n, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("image,label\n" + "".join(lines))
    host = _remote.host_of(server.url)

    def scanned(output: str) -> labelsieve.Run:
        data = labelsieve.load(tmp_path / "t.csv", urls=host)
        return labelsieve.scan(
            data, output=tmp_path / output, method="zero-shot", model="tiny"
        )

    run = scanned("run")
    assert all(server.sent[f"/{name}"] == 1 for name in names)
    again = scanned("again")
    assert again.scores.equals(run.scores)
    page.make(run)
    labelsieve.export(run, "imagefolder", tmp_path / "out")
    assert all(server.sent[f"/{name}"] == 1 for name in names)
    # the server is gone, and the pictures of the run are still shown
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(_remote, "TRIES", 1)
    pictures = open_pictures(run)
    for sample_id, uri in zip(
        run.manifest["sample_id"], run.manifest["uri"], strict=True
    ):
        name = uri.as_py().removeprefix(f"{server.url}/")
        assert pictures.read(sample_id.as_py()) == annotated.paint(
            annotated.SQUARES[name]
        )


def test_a_run_shows_what_was_scanned(server: Server, tmp_path: Path) -> None:
    server.stamp = "ETag"
    (tmp_path / "t.csv").write_text(
        f"image,label\n{server.url}/1.png,a\n{server.url}/4.png,b\n"
    )
    data = labelsieve.load(tmp_path / "t.csv", urls=_remote.host_of(server.url))
    run = labelsieve.scan(
        data, output=tmp_path / "run", method="zero-shot", model="tiny"
    )
    (sample_id,) = [i for i in run.manifest["sample_id"].to_pylist() if "/1.png" in i]
    scanned = (server.folder / "1.png").read_bytes()
    (server.folder / "1.png").write_bytes(b"something else")
    assert open_pictures(run).read(sample_id) == scanned
    # what is kept is another version by now: then it is asked for, and told from the scanned
    kept = _downloads.of_cache().find(f"{server.url}/1.png")
    assert kept is not None
    stamp = {**kept.stamp, "etag": '"another"'}
    _downloads.of_cache().put(f"{server.url}/1.png", stamp, b"a third one")
    (server.folder / "1.png").write_bytes(scanned)
    assert open_pictures(run).read(sample_id) == scanned


# --- object stores


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a store is asked about an object, and for its bytes."""
    s3fs = pytest.importorskip("s3fs", reason="needs the extra remote")
    counted: Counter[str] = Counter()
    for name in ("_cat_file", "_info"):
        whole = getattr(s3fs.S3FileSystem, name)

        async def counting(
            *args: Any, whole: Any = whole, name: str = name, **kwargs: Any
        ) -> Any:
            counted[name] += 1
            return await whole(*args, **kwargs)

        monkeypatch.setattr(s3fs.S3FileSystem, name, counting)
    return counted


def test_listing_a_bucket_tells_what_is_kept(bucket: Any, calls: Counter[str]) -> None:
    for number in range(5):
        bucket.pipe(f"pictures/kept/{'ab'[number % 2]}/{number}.png", b"%d" % number)
    bucket.pipe("pictures/kept/a/empty.png", b"")

    def contents() -> list[bytes]:
        calls.clear()
        source = open_source(DataSpec("s3://pictures/kept"))
        return [row.image.read_bytes() for row in source.rows()]

    first = contents()
    assert sorted(first) == [b"", *(b"%d" % n for n in range(5))]
    assert calls["_cat_file"] == 5
    assert contents() == first
    assert calls["_cat_file"] == 0 and calls["_info"] <= 1
    bucket.pipe("pictures/kept/a/2.png", b"x")
    assert sorted(contents()) == sorted([b"x", *(c for c in first if c != b"2")])
    assert calls["_cat_file"] == 1


def test_objects_by_name_are_asked_about_and_not_read_again(
    bucket: Any, calls: Counter[str], tmp_path: Path
) -> None:
    bucket.pipe("pictures/by-name/1.png", b"one")
    (tmp_path / "t.csv").write_text("image,label\n1.png,a\n")
    spec = DataSpec(tmp_path / "t.csv", root="s3://pictures/by-name")
    for _ in range(3):
        (row,) = open_source(spec).rows()
        assert row.image.read_bytes() == b"one"
    assert calls["_cat_file"] == 1 and calls["_info"] == 3
    bucket.pipe("pictures/by-name/1.png", b"two")
    (row,) = open_source(spec).rows()
    assert row.image.read_bytes() == b"two"
    # never more than was asked for, and one
    for name in ("by-name/1.png", "by-name/2.png"):
        bucket.pipe(f"pictures/{name}", b"two")
        assert _remote.Remote({"pictures"}).fetch(f"s3://pictures/{name}", 1) == b"tw"


# --- labelsieve cache


def test_the_cache_tells_its_parts_and_clears_one(own: Path) -> None:
    Downloads(own).put(URL, {"etag": "1"}, b"picture")
    (own.parent / "pixels2-224x224-s224-r3").mkdir()
    (own.parent / "pixels2-224x224-s224-r3" / "pixels.u8").write_bytes(bytes(10))
    size = files(own)[0].stat().st_size
    assert cache.parts() == {"downloads": size, "pixels": 10}
    assert cache.clear("downloads") == size and cache.parts() == {"pixels": 10}
    with pytest.raises(labelsieve.errors.OptionError, match="the cache holds pixels"):
        cache.clear("pictures")


def test_the_command_shows_and_clears(own: Path) -> None:

    Downloads(own).put(URL, {"etag": "1"}, bytes(2_000_000))
    size = files(own)[0].stat().st_size
    shown = CliRunner().invoke(app, ["cache"]).output
    assert shown.splitlines() == [f"{own.parent}: 2 MB", "    downloads: 2.0 MB"]
    cleared = CliRunner().invoke(
        app, ["cache", "--clear", "--only", "downloads", "--json"]
    )
    assert json.loads(cleared.output) == {
        "folder": str(own.parent),
        "bytes": 0,
        "parts": {},
        "deleted": size,
    }
