"""Find the wrong labels in image data sets, and train classifiers that are not fooled by them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelsieve.classifiers.classifier import Classifier
    from labelsieve.classifiers.comparison.compare import compare
    from labelsieve.classifiers.predict import evaluate, predict
    from labelsieve.classifiers.train import train
    from labelsieve.corrections.apply import apply
    from labelsieve.corrections.policy import Policy
    from labelsieve.data.load import load
    from labelsieve.errors import LabelsieveError
    from labelsieve.exports import export
    from labelsieve.pipeline.detector import DeFT
    from labelsieve.pipeline.scan import look, scan
    from labelsieve.pipeline.score import score
    from labelsieve.runs.run import Run

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "DeFT",
    "LabelsieveError",
    "Policy",
    "Run",
    "__version__",
    "apply",
    "compare",
    "evaluate",
    "export",
    "load",
    "look",
    "predict",
    "scan",
    "score",
    "train",
]

# where public names live; none is imported before it is used
_HOME = {
    "Classifier": "classifiers.classifier",
    "DeFT": "pipeline.detector",
    "LabelsieveError": "errors",
    "Policy": "corrections.policy",
    "Run": "runs.run",
    "apply": "corrections.apply",
    "compare": "classifiers.comparison.compare",
    "evaluate": "classifiers.predict",
    "export": "exports",
    "load": "data.load",
    "look": "pipeline.scan",
    "predict": "classifiers.predict",
    "scan": "pipeline.scan",
    "score": "pipeline.score",
    "train": "classifiers.train",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `import labelsieve` costs nothing."""
    if name in _HOME:
        return getattr(importlib.import_module(f"labelsieve.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labelsieve' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
