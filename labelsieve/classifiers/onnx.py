"""`labelsieve export-model`: a trained model for another runtime."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import registry
from labelsieve.classifiers.backbone import logits_of
from labelsieve.classifiers.classifier import Classifier
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.errors import LabelsieveError, OptionError, unknown
from labelsieve.files import replacing
from labelsieve.models import encoder

FORMATS = ("onnx",)
CLOSE = 1e-4  # largest difference of a logit, relative to the largest logit
CHECKED = 64  # pictures of --data that both runtimes are asked about


class _Logits(nn.Module):
    """Normalised pixels -> logits, of either kind of backbone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return logits_of(self.model, pixel_values)


def export_model(
    model: str | Path | Classifier,
    to: str = "onnx",
    output: str | Path | None = None,
    *,
    data: Any = None,
) -> dict[str, Any]:
    """Write a model as ONNX: `pixel_values` [batch, 3, height, width] float32, normalised,
    -> `logits` [batch, classes].

    The file is run with onnxruntime before it is kept, on pictures.

    Args:
        model: a `Classifier`, its directory or a hub id.
        output: the file; None is `model.onnx` in the model's directory.
        data: pictures for that, as `labelsieve.load` takes them or a folder of pictures;
            None takes noise.

    Returns:
        file, difference (largest relative difference of a logit), checked (number of
        pictures), classes.

    Raises:
        OptionError: an unknown format, or no directory to write to.
        DataError: no picture of `data` can be read.
        MissingExtra: the libraries of the extra `onnx` are not installed.
        LabelsieveError: the runtime gives other answers.
    """
    if to not in FORMATS:
        raise OptionError(unknown("--to", to, FORMATS))
    if output is None and (isinstance(model, Classifier) or not Path(model).is_dir()):
        raise OptionError(
            "-o is needed: the model has no folder here.", "For example -o model.onnx."
        )
    target = Path(output) if output is not None else Path(str(model)) / "model.onnx"
    # asked for before the model is opened, which takes longer
    for library in ("onnx", "onnxscript", "onnxruntime"):
        registry.need(library)
    opened = _on_cpu(model)
    pixels = _noise(opened) if data is None else _pictures(opened, data)
    with replacing(target) as scratch:
        _write(opened, scratch)
        difference = compare(opened, scratch, pixels)
        if not difference < CLOSE:  # also for NaN
            raise LabelsieveError(
                f"The exported model differs from the original by {difference:.1e}.",
                "Please report the model's family.",
            )
    return {
        "file": str(target),
        "difference": difference,
        "checked": len(pixels),
        "classes": opened.classes,
    }


def _on_cpu(model: str | Path | Classifier) -> Classifier:
    """The model where the exporter can trace it, in float32, which the runtime computes in."""
    if not isinstance(model, Classifier):
        return Classifier.from_pretrained(model, device="cpu", precision="float32")
    if model.device.type != "cpu":
        raise OptionError(
            f"The model is on {model.device}; a model is exported from the CPU.",
            "Open it with device='cpu'.",
        )
    return model


def _noise(opened: Classifier) -> np.ndarray:
    shape = (3, 3, opened.preprocess.height, opened.preprocess.width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _pictures(opened: Classifier, data: Any) -> np.ndarray:
    """uint8 [n, 3, height, width], drawn from a data set; its labels are not looked at."""
    spec = replace(load(data), labelled=False)
    images = prepare(spec, opened.preprocess).dataset
    # drawn: the first ones may all be of one class
    chosen = np.random.default_rng(0).permutation(len(images))[:CHECKED]
    return np.ascontiguousarray(images.inputs(chosen).numpy())


def _write(opened: Classifier, path: Path) -> None:
    height, width = opened.preprocess.height, opened.preprocess.width
    example = torch.zeros(2, 3, height, width)
    # two pictures: with one the exporter would take the number for a constant
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own insides
        torch.onnx.export(
            _Logits(opened.backbone.model).eval(),
            (example,),
            str(path),
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamo=True,  # the exporter that is not deprecated
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
            external_data=False,
            verbose=False,
        )


def compare(opened: Classifier, path: Path, pixels: np.ndarray) -> float:
    """Largest difference between onnxruntime's logits and torch's, relative to the largest logit.

    Args:
        pixels: uint8 [n, 3, height, width].
    """
    runtime = registry.need("onnxruntime")
    inputs = encoder.normalise(
        torch.from_numpy(pixels), opened.preprocess, opened.device
    )
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(["logits"], {"pixel_values": inputs.numpy()})[0]
    ours = opened.logits(torch.from_numpy(pixels)).numpy()
    return float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-12))
