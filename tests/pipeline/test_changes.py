"""What differs between two readings of the same data, in words."""

from __future__ import annotations

import pyarrow as pa

from labelsieve.pipeline.changes import between, difference


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


def test_the_same_rows_in_other_clothes_are_no_change() -> None:
    def read(labels: list[str | None], truth: list[str] | None) -> tuple[pa.Table, ...]:
        ids = [f"{k}#0" for k in range(len(labels))]
        manifest = pa.table({"sample_id": ids, "given_label": labels, "slot": ids})
        if truth is None:
            return manifest, None
        # the truth is joined by id, in whatever order it was written
        known = {"sample_id": ids[::-1], "true_label": truth[::-1]}
        return manifest, pa.table(known)

    one = read(["a", "b", None], ["a", "a", "b"])
    packed = one[0].set_column(
        1, "given_label", one[0]["given_label"].dictionary_encode()
    )
    assert between(one, (packed, one[1])) == ""
    assert between(one, (packed, None)) == "3 images have another label"
    assert between(one, read(["a", "b", "a"], ["a", "a", "b"])) == (
        "1 image has another label"
    )
    # rows in another order are the same rows
    turned = one[0].take([2, 0, 1])
    assert between(one, (turned, one[1])) == ""
