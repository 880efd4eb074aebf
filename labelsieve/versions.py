"""Versions of Python and of libraries that a result depends on."""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    "labelsieve",
    "torch",
    "transformers",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "peft",
)


def environment() -> dict[str, str]:
    """Versions that a result depends on."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        # optional ones may be missing
        with contextlib.suppress(PackageNotFoundError):
            versions[library] = version(library)
    return versions
