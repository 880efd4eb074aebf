"""Pictures in a few sizes, made once; and what is known of a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.review import shown as module
from labelsieve.review.shown import Shown
from labelsieve.runs.items import images as view
from labelsieve.runs.items._kept import Kept
from labelsieve.runs.items.images import Facts, in_units
from labelsieve.runs.pictures import open_pictures


@pytest.fixture
def shown(planted: Any) -> Shown:
    return Shown(open_pictures(planted.run))


def sides(picture: bytes | None) -> tuple[int, int]:
    assert picture is not None
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def test_a_picture_is_as_large_as_was_asked_for_and_never_larger_than_it_is() -> None:
    class One:
        def read(self, sample_id: str) -> Any:
            return Image.new("RGB", (1500, 750), sample_id)

    shown = Shown(One())  # type: ignore[arg-type]
    assert sides(shown.get("red", "small")) == (160, 80)
    assert sides(shown.get("red", "medium")) == (384, 192)
    assert sides(shown.get("red", "large")) == (1024, 512)
    assert sides(shown.get("red", "full")) == (1500, 750)
    assert shown.facts("red") == Facts(1500, 750, "")


def test_a_picture_is_made_once_and_the_oldest_goes_first(
    shown: Shown, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = view.webp

    def counted(images: Any, sample_id: str, *more: Any) -> bytes | None:
        made.append(sample_id)
        return real(images, sample_id, *more)

    monkeypatch.setattr(view, "webp", counted)
    first, second, third = planted.wrong[:3]
    once = shown.get(first, "small")
    assert shown.get(first, "small") is once and made == [first]
    shown.get(first, "full")
    shown.get(first, "full")  # looked at once: not kept
    assert made == [first] * 3
    monkeypatch.setattr(module, "ROOM", 2 * len(once or b"") + 1)
    shown.get(second, "small")
    shown.get(first, "small")
    shown.get(third, "small")
    made.clear()
    shown.get(first, "small")
    shown.get(second, "small")
    assert second in made and shown._taken <= module.ROOM
    assert shown._taken == sum(map(len, shown._made.values()))


def test_facts_are_those_of_the_file(shown: Shown, planted: Any) -> None:
    facts = shown.facts(planted.wrong[0])
    (file,) = planted.data.glob(f"{planted.wrong[0].rpartition('#')[0]}")
    with Image.open(file) as image:
        wanted = Facts(*image.size, in_units(file.stat().st_size))
    assert facts == wanted
    assert shown.facts("x#y") is None and shown.get("x#y", "small") is None


def test_the_next_review_finds_pictures_by_their_content(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path / "pictures.sqlite", 10**6)
    images = open_pictures(planted.run)
    first = Shown(images, kept).get(planted.wrong[0], "small")
    monkeypatch.setattr(view, "webp", lambda *_: None)
    again = Shown(images, kept)
    assert first and again.get(planted.wrong[0], "small") == first
    # another size and another picture are made, and full ones are not kept
    assert again.get(planted.wrong[0], "medium") is None
    assert again.get(planted.wrong[1], "small") is None
    kept.close()
