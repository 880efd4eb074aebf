"""Commands about what is installed here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_cache_is_shown_and_cleared(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "downloads").mkdir(parents=True)
    (tmp_path / "cache" / "downloads" / "x").write_bytes(bytes(3_000_000))
    assert call("cache", "--json").json() == {
        "folder": str(tmp_path / "cache"),
        "bytes": 3_000_000,
        "parts": {"downloads": 3_000_000},
        "deleted": 0,
    }
    shown = f"{tmp_path / 'cache'}: 3 MB\n    downloads: 3.0 MB\n"
    assert call("cache").out == shown
    assert "Add --clear" in call("cache", "--only", "x").err
    assert call("cache", "--clear", "--json").json()["deleted"] == 3_000_000
    assert call("cache", "--json").json()["bytes"] == 0
