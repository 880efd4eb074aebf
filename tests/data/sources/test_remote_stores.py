"""Object stores of Google and Azure: what is missing is named, and what is there is read."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.sources import _remote, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

pytest.importorskip("fsspec", reason="needs the extra remote")
# the module: the package has a dictionary of the same name
REGISTRY: Any = importlib.import_module("fsspec.registry")


@pytest.mark.parametrize(
    ("scheme", "library", "extra"),
    [
        ("gs", "gcsfs", "gcs"),
        ("gcs", "gcsfs", "gcs"),
        ("az", "adlfs", "azure"),
        ("abfs", "adlfs", "azure"),
    ],
)
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, scheme: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    REGISTRY._registry.pop(scheme, None)
    with pytest.raises(DataError) as caught:
        list(open_source(DataSpec(f"{scheme}://bucket/photos")).rows())
    assert str(caught.value).startswith(f"'{scheme}://' needs a library: ")
    assert str(caught.value).endswith(
        f"Install it with: pip install 'labelsieve[{extra}]'."
    )


def contents(url: str) -> dict[str, tuple[str | None, bytes]]:
    rows = open_source(DataSpec(url)).rows()
    return {row.key: (row.label, row.image.read_bytes()) for row in rows}


EXPECTED = {"cat/1.png": ("cat", b"one"), "dog/a b.png": ("dog", b"two")}


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_class_folders_of_any_file_system(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The way through fsspec by itself, on its own store in memory."""
    from fsspec.implementations.memory import MemoryFileSystem

    class Store(MemoryFileSystem):
        protocol = scheme
        store: Any = {}  # noqa: RUF012
        pseudo_dirs: Any = [""]  # noqa: RUF012

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.partition("://")[2].strip("/") if "://" in path else path

    monkeypatch.setitem(REGISTRY._registry, scheme, Store)
    store = Store(skip_instance_cache=True)
    for name, (_, data) in EXPECTED.items():
        store.pipe(f"/bucket/photos/{name}", data)
    assert contents(f"{scheme}://bucket/photos") == EXPECTED


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of an emulator of Google's store on this machine."""
    gcsfs = pytest.importorskip("gcsfs", reason="needs the extra gcs")
    server = pytest.importorskip(
        "gcp_storage_emulator.server", reason="needs the emulator"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(_remote, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    running = server.create_server(
        "127.0.0.1", port, in_memory=True, default_bucket="pictures"
    )
    running.start()
    yield gcsfs.GCSFileSystem(skip_instance_cache=True)
    running.stop()


def test_class_folders_in_a_bucket_of_google(google: Any, tmp_path: Path) -> None:
    for name, (_, data) in EXPECTED.items():
        google.pipe(f"pictures/set/{name}", data)
    assert contents("gs://pictures/set") == EXPECTED
    assert contents("gs://pictures/set") == EXPECTED
    (tmp_path / "t.csv").write_text("image,label\ncat/1.png,x\nno.png,y\n")
    spec = DataSpec(tmp_path / "t.csv", root="gs://pictures/set")
    first, second = open_source(spec).rows()
    assert first.image.read_bytes() == b"one"
    with pytest.raises(Exception, match="not found"):
        second.image.read_bytes()
