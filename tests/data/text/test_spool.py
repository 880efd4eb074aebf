"""Texts come back by their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelsieve.data.text import spool


@pytest.mark.parametrize("in_memory", [1 << 20, 8])
def test_what_was_added_is_read(
    in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    kept = spool.Spool(tmp_path)
    texts = [b"first", b"", b"\x00\xff" * 50, b"last"]
    assert [kept.add(text) for text in texts] == [0, 1, 2, 3]
    assert [kept.read(i) for i in (3, 0, 2, 1)] == [texts[i] for i in (3, 0, 2, 1)]
    assert kept.add(b"more") == 4 and kept.read(4) == b"more" and len(kept) == 5
    for number in (5, -1):
        with pytest.raises(IndexError):
            kept.read(number)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_nothing_after_the_error() -> None:
    file = Path("/dev/full").open("wb")  # noqa: SIM115
    file.write(b"waits in a buffer")
    spool._close(file)
    assert file.closed
