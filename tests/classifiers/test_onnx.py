"""A model in another runtime gives the same answers, on real pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.classifiers import backbone
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.onnx import CLOSE, compare, export_model
from labelsieve.errors import MissingExtra, OptionError

CLASSES = ["a", "b", "c"]


def saved(checkpoint: Path, folder: Path) -> Path:
    student = backbone.build(
        str(checkpoint), CLASSES, seed=0, device=torch.device("cpu")
    )
    Classifier(student, CLASSES).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["clip", "resnet"])
def test_onnx_on_real_digits(
    kind: str,
    random_clip: Any,
    random_classifier: Any,
    digits: Any,
    digit_table: Path,
    call: Any,
    tmp_path: Path,
) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra onnx)")
    folder = saved(
        random_clip() if kind == "clip" else random_classifier(kind), tmp_path / "model"
    )
    done = call("export-model", folder, "--to", "onnx", "--data", digit_table, "--json")
    assert done.code == 0, done.err
    assert done.json()["checked"] == 43, "all pictures of the table that can be read"
    opened = Classifier.from_pretrained(folder, device="cpu", precision="float32")
    pixels = np.stack(
        [opened.preprocess(_picture(p)) for p in digits[0][:5]]
    ).transpose(0, 3, 1, 2)
    for rows in (slice(0, 1), slice(0, 5)):  # any number at once
        assert (
            compare(opened, folder / "model.onnx", np.ascontiguousarray(pixels[rows]))
            < CLOSE
        )
    assert (
        done.json()["file"] == str(folder / "model.onnx")
        and done.json()["difference"] < CLOSE
    )
    assert sorted(p.name for p in folder.glob("*onnx*")) == ["model.onnx"]
    with torch.no_grad():
        head = opened.backbone.model.classifier
        (head[-1] if kind == "resnet" else head).bias.add_(
            torch.tensor([1.0, 0.0, 0.0])
        )
    assert (
        compare(opened, folder / "model.onnx", pixels) > CLOSE
    )  # another model is seen to be another


def _picture(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels).convert("RGB")


def test_mistakes(
    random_clip: Callable[..., Path],
    call: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = saved(random_clip(), tmp_path / "model")
    found = call("export-model", folder, "--to", "coreml")
    assert found.code == 2 and "--to 'coreml' is unknown; there are: onnx." in found.err
    with pytest.raises(OptionError, match="-o is needed"):
        export_model("somebody/model")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'labelsieve\[onnx\]'"):
        export_model(folder)
