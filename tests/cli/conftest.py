"""Data and a run that several tests of the command line name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory,
    digit_table: Path,
    scanned: Any,
    encode: Callable[..., bytes],
    digits: Any,
) -> dict[str, str]:
    """Good data and what is wrong in all ways."""
    tmp = tmp_path_factory.mktemp("mistakes")
    picture = [encode(digits[0][i]) for i in range(4)]
    for name, content in {
        "digits/one/a.png": picture[0],
        "digits/two/b.png": picture[1],
        "hollow/cat/notes.doc": b"x",
        "single/cat/a.png": picture[2],
        "broken/cat/a.png": b"x",
        "broken/dog/a.png": b"",
        "a-file": b"x",
        "bert/config.json": b'{"model_type": "bert"}',
    }.items():
        (tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / name).write_bytes(content)
    (tmp / "empty").mkdir()
    return {
        "tmp": str(tmp),
        "digits": str(tmp / "digits"),
        "table": str(digit_table),
        "run": str(scanned.folder),
    }
