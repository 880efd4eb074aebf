"""Data in memory are passed again: rows by their keys, compared by their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import labelsieve as ls
from labelsieve.errors import ImageError, RunError
from labelsieve.runs.pictures import open_pictures
from labelsieve.runs.reading.objects import ByKey
from labelsieve.runs.run import Run


def frame_of(digits: tuple[np.ndarray, np.ndarray], count: int = 40) -> pd.DataFrame:
    images, truth = digits
    shown = [Image.fromarray(image.astype(np.uint8)) for image in images[:count]]
    labels = [f"digit {label}" for label in truth[:count]]
    index = [f"key {number}" for number in range(count)]
    return pd.DataFrame({"image": shown, "label": labels}, index=index)


@pytest.fixture(scope="module")
def folder(
    digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("frame") / "run"
    ls.scan(frame_of(digits), output=output, method="zero-shot", model="tiny")
    return output


def test_another_process_is_told_what_to_pass(folder: Path) -> None:
    with pytest.raises(RunError) as refused:
        open_pictures(Run(folder))
    assert "data in memory (pandas.DataFrame)" in refused.value.what
    assert "review(data=...)" in str(refused.value)


def test_a_frame_in_another_order_shows_what_was_scanned(
    folder: Path, digits: Any
) -> None:
    frame, opened = frame_of(digits), Run(folder)
    pictures = open_pictures(opened, frame.sample(frac=1, random_state=0))
    for sample_id in opened.manifest["sample_id"].to_pylist():
        own = frame["image"][sample_id.rpartition("#")[0]]
        assert pictures.read(sample_id).tobytes() == own.tobytes()


def test_other_rows_are_not_shown_in_their_place(folder: Path, digits: Any) -> None:
    frame, opened = frame_of(digits), Run(folder)
    changed = frame.copy()
    changed.at["key 3", "image"] = frame["image"]["key 4"]
    pictures = open_pictures(opened, changed.drop(index="key 5"))
    ids = {i.rpartition("#")[0]: i for i in opened.manifest["sample_id"].to_pylist()}
    with pytest.raises(ImageError, match="not the item that was scanned"):
        pictures.read(ids["key 3"])
    with pytest.raises(ImageError, match="not in these data"):
        pictures.read(ids["key 5"])
    with pytest.raises(RunError, match="What was passed does not hold the images"):
        open_pictures(opened, frame.set_index(frame.index + " of another frame"))


def test_texts_are_compared_by_their_bytes() -> None:
    from labelsieve.data.load import load
    from labelsieve.data.sources import open_source

    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})
    items = ByKey(open_source(load(frame, text_column="text")))
    digest = "ca978112ca1b"  # of "a"
    assert items.read(f"0#{digest}") == b"a"
    with pytest.raises(ImageError):
        items.read(f"1#{digest}")


def test_the_page_of_a_frame_opens_again(folder: Path, digits: Any) -> None:
    session = pytest.importorskip("labelsieve.review.session")
    review = session.Review(Run(folder), data=frame_of(digits), background=False)
    try:
        assert review.picture(0, "small")[8:12] == b"WEBP"
    finally:
        review.decisions.close()
