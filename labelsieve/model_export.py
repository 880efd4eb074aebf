"""`labelsieve export-model`: a trained model for another runtime."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import models, registry, students
from labelsieve.classifier import Classifier
from labelsieve.errors import LabelsieveError, OptionError, unknown

FORMATS = ("onnx",)
CLOSE = 1e-4  # largest difference of a logit, relative to the largest logit


class _Logits(nn.Module):
    """Normalised pixels -> logits, of either kind of student."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return students.logits_of(self.model, pixel_values)


def export_model(model: str | Path | Classifier, to: str = "onnx", output: str | Path | None = None) -> dict[str, Any]:
    """Write a model as ONNX: `pixel_values` [batch, 3, height, width] float32, normalised, -> `logits` [batch, classes].

    The file is run with onnxruntime before it is kept.

    Args:
        model: a `Classifier`, its directory or a hub id.
        output: the file; None is `model.onnx` in the model's directory.

    Returns:
        file, difference (largest relative difference of a logit), classes.

    Raises:
        OptionError: an unknown format, or no directory to write to.
        MissingExtra: the libraries of the extra `onnx` are not installed.
        LabelsieveError: the runtime gives other answers.
    """
    if to not in FORMATS:
        raise OptionError(unknown("--to", to, FORMATS))
    if output is None and (isinstance(model, Classifier) or not Path(model).is_dir()):
        raise OptionError("-o is needed: the model has no folder here.", "For example -o model.onnx.")
    target = Path(output) if output is not None else Path(str(model)) / "model.onnx"
    for library in ("onnx", "onnxscript", "onnxruntime"):
        registry.need(library)
    opened = (
        model if isinstance(model, Classifier) else Classifier.from_pretrained(model, device="cpu", precision="float32")
    )
    if opened.device.type != "cpu":
        raise OptionError("The model lies on a card.", "Open it with device='cpu' to export it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.partial.onnx")
    try:
        _write(opened, scratch)
        difference = compare(opened, scratch)
        if not difference < CLOSE:
            raise LabelsieveError(
                f"The exported model differs from the original by {difference:.1e}.",
                "Please report the model's family.",
            )
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return {"file": str(target), "difference": difference, "classes": opened.classes}


def _write(opened: Classifier, path: Path) -> None:
    height, width = opened.preprocess.height, opened.preprocess.width
    example = torch.zeros(2, 3, height, width)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own insides
        torch.onnx.export(
            _Logits(opened.student.model).eval(), (example,), str(path), input_names=["pixel_values"], output_names=["logits"],
            dynamo=True, dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}}, external_data=False, verbose=False,
        )  # fmt: skip


def compare(opened: Classifier, path: Path, pixels: np.ndarray | None = None) -> float:
    """Largest difference between onnxruntime's logits and torch's, relative to the largest logit.

    Args:
        pixels: uint8 [n, 3, height, width]; None takes noise.
    """
    runtime = registry.need("onnxruntime")
    if pixels is None:
        shape = (3, 3, opened.preprocess.height, opened.preprocess.width)
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    inputs = models.normalise(torch.from_numpy(pixels), opened.preprocess, opened.device)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(["logits"], {"pixel_values": inputs.numpy()})[0]
    ours = opened.logits(torch.from_numpy(pixels)).numpy()
    return float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-12))
