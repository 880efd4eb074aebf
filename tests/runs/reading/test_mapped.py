"""Copies of the tables of a large run: used where they are whole, and only for the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelsieve.cache import cache_folder
from labelsieve.errors import RunError
from labelsieve.runs import standing
from labelsieve.runs.reading import features as module
from labelsieve.runs.reading import mapped
from labelsieve.runs.reading.features import cached_features
from labelsieve.runs.run import Run


@pytest.fixture
def copies(planted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The planted run, taken for a large one, with its copies in a cache of its own."""
    features = planted.run.record["features"]
    before = cache_folder()
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").symlink_to(before / "features")
    assert Path(features).exists()
    monkeypatch.setattr(mapped, "LARGE", 1)
    mapped.keep(planted.run)
    return sorted((tmp_path / "cache" / "tables").glob("*.arrow"))


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on Parquet files of a run are not read."""

    def refuse(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(mapped, "read_parquet", refuse)


def test_copies_hold_what_the_files_hold(
    planted: Any, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(copies) == len(mapped.TABLES)
    read = planted.run
    wanted = [read.scores, read.manifest, read.quality(), read.duplicates()]
    probs = read.probs()
    no_reading(monkeypatch)
    again = Run(planted.folder)
    found = [again.scores, again.manifest, again.quality(), again.duplicates()]
    assert all(a.equals(b) for a, b in zip(found, wanted, strict=True))
    assert again.probs().equals(probs)
    # what follows from them is the same, too
    now, then = standing.of_run(again), standing.of_run(read)
    assert np.array_equal(now.posterior, then.posterior)
    assert [again.at[i] for i in planted.wrong] == [read.at[i] for i in planted.wrong]


def test_rows_of_features_are_those_of_their_ids(
    planted: Any, copies: list[Path]
) -> None:
    for opened in (planted.run, Run(planted.folder)):
        found, cached = module.feature_rows(opened), cached_features(opened)
        assert found is not None and cached is not None
        at = {sample_id: row for row, sample_id in enumerate(cached[0])}
        wanted = [at[i] for i in opened.judged["sample_id"].to_pylist()]
        assert found[0].tolist() == wanted


def test_a_damaged_copy_is_read_anew(planted: Any, copies: list[Path]) -> None:
    wanted = planted.run.scores
    for path in copies:
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        # a new file: a mapped one must not change below its readers
        path.unlink()
        path.write_bytes(bytes(whole))
    again = Run(planted.folder)
    assert again.scores.equals(wanted)


def test_a_damaged_file_is_named_whatever_is_in_the_cache(
    planted: Any, copies: list[Path]
) -> None:
    path = planted.folder / "scores.parquet"
    whole = bytearray(path.read_bytes())
    whole[100] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(RunError, match=r"scores\.parquet' is damaged"):
        _ = Run(planted.folder).scores


def test_copies_of_a_run_that_was_scanned_anew_are_not_used(
    planted: Any, copies: list[Path]
) -> None:
    from labelsieve import tables
    from labelsieve.runs.run import run_folder

    scores = planted.run.scores
    p_clean = np.sort(scores["p_clean"].to_numpy() / 2)
    place = scores.schema.get_field_index("p_clean")
    changed = scores.set_column(place, scores.schema.field(place), [p_clean])
    tables.write_parquet(changed, planted.folder / "scores.parquet")
    run_folder(planted.folder).finish({"flagged": 1})
    assert np.array_equal(Run(planted.folder).scores["p_clean"].to_numpy(), p_clean)


def test_a_small_run_leaves_nothing_in_the_cache(
    planted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    mapped.keep(planted.run)
    _ = planted.run.at
    assert not (tmp_path / "cache" / "tables").exists()


def test_what_is_warmed_is_what_is_read(
    planted: Any, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Now:
        def __init__(self, target: Any, daemon: bool) -> None:
            started.append(target)

        def start(self) -> None:
            started[-1]()

    monkeypatch.setattr(mapped.threading, "Thread", Now)
    compared: list[Path] = []
    real = mapped.read_table

    def noted(path: Path) -> Any:
        compared.append(path)
        return real(path)

    monkeypatch.setattr(mapped, "read_table", noted)
    Run(planted.folder).warm()
    assert sorted(compared) == copies
