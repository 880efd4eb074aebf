"""Everything that a command imports, so that processes forked from here start at once.

Only imports, and the commands: what is computed, opened or locked here would be shared by all
children.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil

import typer

import labelsieve
from labelsieve.cli import app

# What commands import when they first need it, besides the modules of this package.
LATE = (
    "PIL.AvifImagePlugin",
    "PIL.BmpImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.WebPImagePlugin",
    "accelerate",
    "datasets",
    "filelock",
    "jinja2",
    "pandas",
    "peft",
    "pydantic.fields",
    "rich.progress",
    "scipy.optimize",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.mixture",
    "sklearn.neighbors",
    "sqlite3",
    "torch._dynamo",
    "transformers.models.auto.modeling_auto",
    "transformers.models.clip.configuration_clip",
    "transformers.models.clip.image_processing_clip",
    "transformers.models.clip.image_processing_pil_clip",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.processing_clip",
    "transformers.models.clip.tokenization_clip",
    "typer._adapters",
)


def _warm() -> None:
    names = [m.name for m in pkgutil.walk_packages(labelsieve.__path__, "labelsieve.")]
    for name in (*names, *LATE):
        # parts that are not installed, and modules that are programs
        if not name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    # what typer builds anew for every call: the commands and their options
    app.app = typer.main.get_command(app.app)  # type: ignore[assignment]
    # objects that the collector never touches stay on pages that all children share
    gc.collect()
    gc.freeze()


_warm()
