"""What differs between two readings of the same data, in words."""

from __future__ import annotations

from labelsieve.pipeline.changes import difference


def test_each_kind_of_change_is_counted() -> None:
    before = {f"{k}#0": ("a", None) for k in range(6)}
    after = {f"{k}#0": ("a", None) for k in range(1, 6)}
    assert difference(before, before) == ""
    assert difference(before, after) == "1 image is gone"
    assert difference(after, before) == "1 image is new"
    other_pixels = {**after, "0#1": ("a", None)}
    assert difference(before, other_pixels) == "1 image has other pixels"
    moved = {**after, "elsewhere/0#0": ("b", None)}
    one = {f"{k}#{k}": ("a", None) for k in range(3)}
    other = {"0#0": ("a", None), "b/1#1": ("b", None), "b/3#3": ("b", None)}
    assert difference(before, moved) == "1 image was moved"
    assert (
        difference(one, other) == "1 image is new, 1 image is gone, 1 image was moved"
    )
    relabelled = {**before, "2#0": ("b", None), "3#0": ("a", "b")}
    assert difference(before, relabelled) == "2 images have another label"
