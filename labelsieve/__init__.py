"""labelsieve: find the wrong labels in image data sets, and train classifiers that are not fooled by them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelsieve.adapt import train
    from labelsieve.classifier import Classifier, evaluate, predict
    from labelsieve.correcting import apply
    from labelsieve.corrections import Policy
    from labelsieve.detector import DeFT
    from labelsieve.errors import LabelsieveError
    from labelsieve.exports import export
    from labelsieve.pipeline import load, look, scan, score
    from labelsieve.run import Run

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "DeFT",
    "LabelsieveError",
    "Policy",
    "Run",
    "__version__",
    "apply",
    "evaluate",
    "export",
    "load",
    "look",
    "predict",
    "scan",
    "score",
    "train",
]

_HOME = {
    "Classifier": "classifier", "train": "adapt", "predict": "classifier", "evaluate": "classifier",
    "DeFT": "detector", "LabelsieveError": "errors", "Run": "run",
    "apply": "correcting", "export": "exports", "Policy": "corrections", "load": "pipeline", "look": "pipeline", "scan": "pipeline", "score": "pipeline",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `import labelsieve` costs nothing."""
    if name in _HOME:
        return getattr(importlib.import_module(f"labelsieve.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labelsieve' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
