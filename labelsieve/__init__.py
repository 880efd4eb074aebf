"""labelsieve: find the wrong labels in image data sets, and train classifiers that are not fooled by them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelsieve.detector import DeFT
    from labelsieve.errors import LabelsieveError
    from labelsieve.pipeline import load, look, scan, score
    from labelsieve.run import Run

__version__ = "0.1.0"
__all__ = ["DeFT", "LabelsieveError", "Run", "__version__", "load", "look", "scan", "score"]

_HOME = {
    "DeFT": "detector", "LabelsieveError": "errors", "Run": "run",
    "load": "pipeline", "look": "pipeline", "scan": "pipeline", "score": "pipeline",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `import labelsieve` costs nothing."""
    if name in _HOME:
        return getattr(importlib.import_module(f"labelsieve.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labelsieve' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
