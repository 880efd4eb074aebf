"""Checksums: one flipped bit anywhere in a finished folder is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from labelsieve.errors import RunError
from labelsieve.files import read_json, write_json
from labelsieve.runs.digests import (
    DIGESTS,
    SEAL,
    SIZES,
    digests_of,
    read_record,
    verify,
    verify_all,
    write_record,
)
from labelsieve.runs.run import Run


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Change one bit, as a failing disk does: size and date stay."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def copy(scanned: Any, tmp_path: Path) -> Path:
    """A finished run that a test may damage."""
    shutil.copytree(scanned.folder, tmp_path / "run")
    return tmp_path / "run"


READERS = {
    "scores.parquet": lambda run: run.scores,
    "probs.parquet": lambda run: run.probs(),
    "manifest.parquet": lambda run: run.manifest,
    "truth.parquet": lambda run: run.truth(),
    "noise.json": lambda run: run.noise,
    "preflight.json": lambda run: run.preflight,
    "detector/config.json": lambda run: run.file("detector/config.json"),
    "detector/detector.safetensors": lambda run: run.file(
        "detector/detector.safetensors"
    ),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_flipped_bit_in_a_file_of_a_run_is_named(
    copy: Path, name: str, share: float
) -> None:
    READERS[name](Run(copy))
    shutil.move(copy, copy.with_name("moved"))  # what was verified is another path
    damaged = copy.with_name("moved") / name
    flip(damaged, int(share * damaged.stat().st_size))
    with pytest.raises(RunError, match=f"{name}' is damaged") as caught:
        READERS[name](Run(copy.with_name("moved")))
    assert "--force" in caught.value.do


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_gone_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(RunError, match=f"{name}' is missing"):
        READERS[name](Run(copy))


def test_what_is_no_file_is_not_called_missing(copy: Path) -> None:
    (copy / "noise.json").unlink()
    (copy / "noise.json").mkdir()
    with pytest.raises(RunError, match=r"noise\.json' is not a file"):
        _ = Run(copy).noise


def test_a_sparse_giant_is_named_without_being_read(copy: Path) -> None:
    os.truncate(copy / "scores.parquet", 1 << 42)  # hours to read, no time to make
    with pytest.raises(RunError, match=r"scores\.parquet' is damaged"):
        _ = Run(copy).scores
    os.truncate(copy / "run.json", 1 << 42)
    with pytest.raises(RunError, match=r"run\.json' is damaged: it is larger than"):
        _ = Run(copy).record


def test_a_record_without_sizes_is_read_as_before(copy: Path) -> None:
    record = read_record(copy / "run.json")
    sizes = record.pop(SIZES)
    assert sizes["scores.parquet"] == (copy / "scores.parquet").stat().st_size
    write_record(copy / "run.json", record)
    assert len(Run(copy).scores) == len(Run(copy).manifest)
    write_record(copy / "run.json", {**record, SIZES: 3})
    with pytest.raises(RunError, match="checksums or sizes are not an object"):
        _ = Run(copy).record


def test_a_record_that_names_files_elsewhere_is_damaged(tmp_path: Path) -> None:
    for name in ("../other", "/etc/hostname", "a\0b"):
        with pytest.raises(RunError, match="its record names the file"):
            verify_all(tmp_path, {DIGESTS: {name: "0" * 64}})


def test_a_flipped_bit_in_the_record_is_named_or_changes_nothing(copy: Path) -> None:
    path = copy / "run.json"
    whole, content = path.read_bytes(), Run(copy).record
    named = 0
    for at in range(0, len(whole), 7):
        flip(path, at, at % 7)
        try:
            assert Run(copy).record == content
        except RunError as error:
            named += 1
            assert "run.json' is damaged" in error.what
        path.write_bytes(whole)
    assert named > len(whole) // 10


def test_a_run_of_an_earlier_version_is_read_as_it_is(copy: Path) -> None:
    record = read_json(copy / "run.json")
    old = {k: v for k, v in record.items() if k not in (SEAL, DIGESTS, SIZES)}
    write_json(copy / "run.json", old)
    (copy / "noise.json").write_text(json.dumps({**Run(copy).noise, "rate": 0.5}))
    assert Run(copy).record == old and Run(copy).noise_rate[0] == 0.5


def test_a_record_without_its_own_checksum_but_with_those_of_files_is_damaged(
    tmp_path: Path,
) -> None:
    write_json(tmp_path / "run.json", {"state": "finished", DIGESTS: {}})
    with pytest.raises(RunError, match="is damaged"):
        read_record(tmp_path / "run.json")


def test_a_record_survives_paths_floats_and_other_alphabets(tmp_path: Path) -> None:
    record = {"at": Path("a/b"), "rate": 0.1 + 0.2, "name": "grün", "n": (1, 2)}
    write_record(tmp_path / "run.json", record)
    again = read_record(tmp_path / "run.json")
    assert again == {"at": "a/b", "rate": 0.1 + 0.2, "name": "grün", "n": [1, 2]}


def test_folders_are_listed_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "config.json").write_text("{}")
    (tmp_path / "other").write_text("not listed")
    digests = digests_of(tmp_path, ["detector", "gone"])
    assert list(digests) == ["detector/config.json"]
    assert verify(tmp_path, "other", {DIGESTS: digests}) == tmp_path / "other"
