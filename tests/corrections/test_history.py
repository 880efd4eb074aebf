from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labelsieve.corrections.history import (
    describe,
    digest,
    find_earlier,
    news,
    record_of,
    reversed_record,
    state_of,
)
from labelsieve.corrections.patch import write_patch
from labelsieve.errors import DataError
from labelsieve.tables import CORRECTIONS


def patch(*labels: str | None) -> pa.Table:
    """One row per label."""
    rows = []
    for number, label in enumerate(labels):
        row: dict[str, Any] = dict.fromkeys(CORRECTIONS.names)
        name = f"x/{number}.png"
        row.update(sample_id=f"{number}#1", uri=name, path=name, old_label="x")
        row.update(action="relabel" if label else "drop", new_label=label, reason="r")
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=CORRECTIONS)


def test_it_lies_in_the_folder_or_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("")
    assert state_of(tmp_path) == state_of(tmp_path / "t.csv")
    assert state_of(tmp_path) == tmp_path / ".labelsieve"
    (tmp_path / ".labelsieve").write_text("")
    with pytest.raises(DataError, match="not a folder of its own"):
        state_of(tmp_path)


def test_the_latest_patch_of_a_scan_holds(tmp_path: Path) -> None:
    first, second = patch("a"), patch("b")
    assert find_earlier(tmp_path, "scan", first) is None
    write_patch(first, record_of(tmp_path, first), {"scan": "scan"})
    write_patch(second, record_of(tmp_path, second), {"scan": "other"})
    found = find_earlier(tmp_path, "scan", second)
    assert found is not None and found.facts == {"scan": "other"}
    found = find_earlier(tmp_path, "scan", None)
    assert found is not None and found.path == record_of(tmp_path, first)
    assert find_earlier(tmp_path, None, None) is None
    gone = reversed_record(found.path)
    found.path.rename(gone)
    assert gone.name.startswith("reversed-")
    assert find_earlier(tmp_path, "scan", first) is None


def test_news_are_what_an_earlier_patch_did_not_say(tmp_path: Path) -> None:
    before = patch("a", "b", "c")
    write_patch(before, record_of(tmp_path, before), {"scan": "s"})
    earlier = find_earlier(tmp_path, "s", None)
    changes = news(patch("a", None), earlier)
    told = [(r["path"], r["old_label"], r["new_label"], r["reason"]) for r in changes]
    assert told == [
        ("x/1.png", "b", None, "r"),
        ("x/2.png", "c", "x", "taken back"),
    ]
    assert news(before, None) == before.to_pylist()


def test_lines_name_what_the_data_hold() -> None:
    lines = describe(patch("a\x1b[2K", None).to_pylist(), {"0#1": "real.png"})
    assert lines == ["real.png: x → a\\x1b[2K  [r]", "x/1.png: x → (left out)  [r]"]


def test_a_digest_is_of_content_and_names_without_the_history(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("1")
    before = digest(tmp_path)
    (tmp_path / ".labelsieve").mkdir()
    (tmp_path / ".labelsieve" / "x").write_text("")
    assert digest(tmp_path) == before
    (tmp_path / "a" / "b").rename(tmp_path / "a" / "c")
    assert digest(tmp_path) != before
