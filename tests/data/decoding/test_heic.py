"""Pictures of phones: read where a library can, and called by their name elsewhere."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from labelsieve.data.images import decode
from labelsieve.errors import ImageError


def test_pictures_of_phones_name_what_reads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # as where it is not installed
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"a HEIC picture: pip install pillow-heif"):
        decode(b"\x00\x00\x00\x18ftypheic" + bytes(40))


def test_pictures_of_phones_are_read_where_that_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif")
    grey = np.full((40, 60, 3), 90, dtype=np.uint8)
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(grey)).save(buffer)
    picture = decode(buffer.getvalue())
    assert picture.size == (60, 40)
    assert np.abs(np.asarray(picture, dtype=int) - 90).max() < 4
