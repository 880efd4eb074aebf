"""Parts in a folder and in a bucket: whole or not there, claimed by one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.pictures import WORDS, png

from labelsieve.engines._mirror import mirrored
from labelsieve.engines._parts import Parts, open_parts, opened, sealed
from labelsieve.errors import RunError
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run


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


@pytest.mark.filterwarnings("ignore")  # of the client, about its own future
def test_data_and_run_in_a_bucket_by_several_processes(
    bucket: str, tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    """Pictures are fetched by workers, the run is put beside them; the scores are those of here."""
    place = f"{bucket}/{tmp_path.name}"  # the bucket is shared with other tests
    fsspec = pytest.importorskip("fsspec")
    images, truth = digits
    for row in np.flatnonzero(truth < 3)[:60]:
        label = WORDS[(truth[row] + (row % 7 == 0)) % 3]
        path = tmp_path / "data" / label / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(images[row]))
    system = fsspec.filesystem("s3", use_listings_cache=False)
    system.put(str(tmp_path / "data"), f"{place}/data", recursive=True)
    words = ["scan", f"{place}/data", "-o", f"{place}/run", "--engine", "processes"]
    words += ["--workers", "2", "--method", "zero-shot", "--model", "tiny", "-q"]
    environment = {**os.environ, "LABELSIEVE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "labelsieve", *words]
    subprocess.run(command, check=True, env=environment)
    alone = scan(
        str(tmp_path / "data"),
        output=tmp_path / "alone",
        method="zero-shot",
        model="tiny",
    )
    system.get(f"{place}/run/", str(tmp_path / "run"), recursive=True)
    run = Run(tmp_path / "run")
    columns = ["sample_id", "p_clean", "suggested_label", "is_label_issue", "rank"]
    assert run.scores.select(columns).equals(alone.scores.select(columns))
    # the same command again finds it finished, in a process that knows nothing of it
    shutil.rmtree(tmp_path / "cache" / "runs")
    before = {name: system.info(name)["ETag"] for name in system.find(f"{place}/run")}
    subprocess.run(command, check=True, env=environment)
    after = {name: system.info(name)["ETag"] for name in system.find(f"{place}/run")}
    assert after == before and f"{place.removeprefix('s3://')}/run/run.json" in after
