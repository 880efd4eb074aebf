"""Parts in a folder and in a bucket: whole or not there, claimed by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labelsieve.engines._mirror import mirrored
from labelsieve.engines._parts import Parts, open_parts, opened, sealed
from labelsieve.errors import RunError


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An object store on this machine."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    boto3 = pytest.importorskip("boto3")
    words = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", **words
        )
        client.create_bucket(Bucket="parts")
        yield "s3://parts"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def parts(request: Any, tmp_path: Path) -> Parts:
    if request.param == "folder":
        return open_parts(tmp_path)
    return open_parts(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


@pytest.mark.filterwarnings("ignore")  # of the client, about its own future
def test_parts_are_whole_or_not_there(parts: Parts) -> None:
    assert parts.get("a/one") is None and parts.age("a/one") is None
    parts.put("a/one", b"content")
    parts.put("a/one", b"content")
    parts.put("a/two", b"")
    assert parts.get("a/one") == b"content" and parts.get("a/two") == b""
    assert parts.names("a") == ["a/one", "a/two"] and parts.names("b") == []
    age = parts.age("a/one")
    assert age is not None and -5 < age < 60
    parts.remove("a/one")
    assert parts.names("a") == ["a/two"]
    parts.remove("a")
    assert parts.names("a") == []


@pytest.mark.filterwarnings("ignore")
def test_a_name_is_claimed_once(parts: Parts) -> None:
    assert [parts.claim("claims/x") for _ in range(3)] == [True, False, False]


def test_a_part_with_another_bit_is_none() -> None:
    data = bytearray(sealed(b"content"))
    assert opened(bytes(data)) == b"content"
    data[3] ^= 1
    assert opened(bytes(data)) is None and opened(b"") is None


@pytest.mark.filterwarnings("ignore")
def test_a_run_in_a_bucket_goes_on_elsewhere(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/run"
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "one"))
    with pytest.raises(KeyboardInterrupt), mirrored(url) as folder:
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "state").write_bytes(b"half")
        (folder / "run.json").write_text("{}")
        raise KeyboardInterrupt
    # another machine has another cache
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "two"))
    with mirrored(url) as folder:
        assert (folder / "checkpoints" / "state").read_bytes() == b"half"
        (folder / "checkpoints" / "state").unlink()
        (folder / "scores.csv").write_text("done")
    with mirrored(url) as folder:
        names = {path.name for path in folder.rglob("*") if path.is_file()}
        assert names == {"run.json", "scores.csv"}


@pytest.mark.filterwarnings("ignore")
def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    with (
        pytest.raises(RunError, match="s3://nowhere/run"),
        mirrored("s3://nowhere/run") as f,
    ):
        f.mkdir(parents=True)
        (f / "run.json").write_text("{}")
