"""Plug-ins are files: the name of a file in a room is the name on the command line.

A room is a folder, named by its path below the package: see `ROOMS`. Nothing is registered anywhere.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from labelsieve.errors import MissingExtra, OptionError, unknown

# Rooms, and how a person calls what lies in each of them.
ROOMS = {
    "methods": "Method",
    "exports": "Export",
    "data/sources": "Source",
    "data/archives": "Archive",
    "models/families": "Family",
    "noise/generators": "Noise",
    "corrections/writers": "Writer",
}
# The extra that installs a library which only some plug-ins import.
EXTRAS = {
    "peft": "lora",
    "datasets": "hub",
    "cleanlab": "cleanlab",
    "fastapi": "review",
    "multipart": "review",
    "python_multipart": "review",
    "uvicorn": "review",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "matplotlib": "bench",
}


def names(room: str) -> list[str]:
    """Names of the plug-ins of a room, as typed on the command line (`zero_shot.py` is `zero-shot`)."""
    folder = Path(__file__).parent / room
    return sorted(
        p.stem.replace("_", "-")
        for p in folder.glob("*.py")
        if not p.stem.startswith("_")
    )


def summary(room: str, name: str) -> str:
    """First line of a plug-in's docstring, read without importing it."""
    source = (Path(__file__).parent / room / f"{name.replace('-', '_')}.py").read_text(
        encoding="utf-8"
    )
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def constants(room: str, name: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Values of literal constants of a file of a room, read without importing it."""
    source = (Path(__file__).parent / room / f"{name.replace('-', '_')}.py").read_text(
        encoding="utf-8"
    )
    found = {}
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in wanted
        ):
            found[node.targets[0].id.lower()] = ast.literal_eval(node.value)
    return found


def load(room: str, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        OptionError: no plug-in has this name.
        MissingExtra: the plug-in needs a library that is not installed.
    """
    if name not in names(room):
        raise OptionError(unknown(ROOMS[room], name, names(room)))
    return need(f"labelsieve.{room.replace('/', '.')}.{name.replace('-', '_')}")


def need(module: str) -> ModuleType:
    """Import a module that may lack an optional library.

    Raises:
        MissingExtra: it does; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in EXTRAS:
            raise MissingExtra(library, EXTRAS[library]) from error
        raise
