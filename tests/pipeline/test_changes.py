"""What differs between two readings of the same data, in words; and models that changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file, save_file

from labelsieve.errors import RunError
from labelsieve.pipeline.changes import between, difference
from labelsieve.pipeline.scan import scan
from labelsieve.pipeline.score import score


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


def flip_projection(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "visual_projection.weight"
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def other_activation(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_act"] = "relu"
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "file"),
    [(flip_projection, "model.safetensors"), (other_activation, "config.json")],
)
def test_a_finished_run_does_not_answer_for_another_model(
    random_clip: Callable[..., Path],
    digits: Any,
    tmp_path: Path,
    change: Callable[[Path], None],
    file: str,
) -> None:
    """The same command gave the old scores, and its detector judged by other features."""
    model, kept = tmp_path / "model", tmp_path / "kept"
    shutil.copytree(random_clip(), model)
    shutil.copytree(model, kept)
    data = digits[0][:24], np.array(["a", "b"] * 12)
    given: dict[str, Any] = {"output": tmp_path / "run", "method": "knn"}
    given["model"] = str(model)
    first = scan(data, **given).scores
    assert scan(data, **given).scores.equals(first)
    judged = score(tmp_path / "run", data)
    change(model)
    said = rf"'{model}' has changed since .*: '{file}'.*--force"
    with pytest.raises(RunError, match=said):
        scan(data, **given)
    with pytest.raises(RunError, match=said):
        score(tmp_path / "run", data)
    again = scan(data, **given, force=True)
    assert not again.scores.equals(first)
    # as it was, in files of other times
    shutil.rmtree(model)
    shutil.copytree(kept, model, copy_function=shutil.copyfile)
    scan(data, **given, force=True)
    shutil.rmtree(model)
    shutil.copytree(kept, model, copy_function=shutil.copyfile)
    assert scan(data, **given).scores.equals(first)
    assert score(tmp_path / "run", data).equals(judged)
