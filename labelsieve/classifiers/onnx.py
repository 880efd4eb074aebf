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

from labelsieve import registry
from labelsieve.classifiers.classifier import Classifier
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.errors import LabelsieveError, OptionError, unknown
from labelsieve.files import replacing

FORMATS = ("onnx",)
CLOSE = 1e-4  # largest difference of a logit, relative to the largest logit
CHECKED = 64  # items of --data that both runtimes are asked about


def export_model(
    model: str | Path | Classifier,
    to: str = "onnx",
    output: str | Path | None = None,
    *,
    data: Any = None,
) -> dict[str, Any]:
    """Write a model as ONNX: `pixel_values` [batch, 3, height, width] float32, normalised,
    -> `logits` [batch, classes]. Of a model that reads: `input_ids` and `attention_mask` [batch,
    tokens] int64, at most one window of a text, -> `logits`.

    The file is run with onnxruntime before it is kept, on items of `data`.

    Args:
        model: a `Classifier`, its directory or a hub id.
        output: the file; None is `model.onnx` in the model's directory.
        data: images or texts for that, as `labelsieve.load` takes them; None takes noise.

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
    inputs = opened.backbone.inputs
    items = inputs.noise() if data is None else _items(opened, data)
    with replacing(target) as scratch:
        _write(opened, scratch)
        difference = compare(opened, scratch, items)
        if not difference < CLOSE:  # also for NaN
            raise LabelsieveError(
                f"The exported model differs from the original by {difference:.1e}.",
                "Please report the model's family.",
            )
    return {
        "file": str(target),
        "difference": difference,
        "checked": len(items),
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


def _items(opened: Classifier, data: Any) -> Any:
    """Some of a data set, drawn; its labels are not looked at."""
    spec = replace(load(data), labelled=False)
    items = prepare(spec, opened.preprocess).dataset
    # drawn: the first ones may all be of one class
    chosen = np.random.default_rng(0).permutation(len(items))[:CHECKED]
    return items.inputs(chosen)


def _write(opened: Classifier, path: Path) -> None:
    inputs = opened.backbone.inputs
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own insides
        torch.onnx.export(
            inputs.graph(opened.backbone.model).eval(),
            inputs.example(opened.device),
            str(path),
            input_names=list(inputs.names),
            output_names=["logits"],
            dynamo=True,  # the exporter that is not deprecated
            dynamic_shapes=inputs.axes(),
            external_data=False,
            verbose=False,
        )


@torch.no_grad()
def compare(opened: Classifier, path: Path, items: Any) -> float:
    """Largest difference between onnxruntime's logits and torch's, relative to the largest logit.

    Args:
        items: as `Dataset.inputs` gives them: uint8 [n, 3, height, width], or texts.
    """
    runtime = registry.need("onnxruntime")
    inputs = opened.backbone.inputs
    if isinstance(items, np.ndarray):
        items = torch.from_numpy(items)
    tensors = inputs.tensors(inputs.ready(items, opened.device))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = [tensor.numpy() for tensor in tensors]
    fed = dict(zip(inputs.names, arrays, strict=True))
    theirs = session.run(["logits"], fed)[0]
    opened.backbone.model.eval()  # no dropout, and the running statistics
    ours = inputs.graph(opened.backbone.model)(*tensors).float().numpy()
    return float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-12))
