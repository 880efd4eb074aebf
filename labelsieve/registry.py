"""Plug-ins are files: the name of a file in a room is the name on the command line.

A room is a folder, named by its path below the package: see `ROOMS`. Our own files are in no
list; programs and other packages add theirs with `register` or an entry point.
"""

from __future__ import annotations

import ast
import importlib
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
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
    "data/modalities": "Modality",
    "models/families": "Family",
    "runs/items": "Item",
    "classifiers/backbones": "Backbone",
    "classifiers/trainers": "Trainer",
    "noise/generators": "Noise",
    "corrections/writers": "Writer",
    "engines": "Engine",
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
    "fsspec": "remote",
    "s3fs": "remote",
    "aiohttp": "remote",
    "ray": "ray",
    "faiss": "neighbours",
    "open_clip": "open-clip",
    "timm": "backbones",
    "torchvision": "backbones",
}


# by room and name
_registered: dict[tuple[str, str], ModuleType] = {}


def register(room: str, name: str, module: ModuleType) -> None:
    """Add a plug-in from outside the package, for this process.

    A package that is installed may instead declare an entry point of its module in the group
    "labelsieve.ROOM", with dots for slashes: "labelsieve.data.sources".

    Args:
        name: as typed on the command line.
        module: what the room's `__init__` says a file of it must offer.

    Raises:
        OptionError: there is no such room, or the name is taken.
    """
    if room not in ROOMS:
        raise OptionError(unknown("Room", room, ROOMS))
    if name in names(room):
        raise OptionError(
            f"{ROOMS[room]} '{name}' exists already.", "Choose another name."
        )
    _registered[room, name] = module


def names(room: str) -> list[str]:
    """Names of a room's plug-ins as typed on the command line (`zero_shot.py`: "zero-shot")."""
    # what begins with an underscore is shared by plug-ins, and none itself
    files = (Path(__file__).parent / room).glob("[!_]*.py")
    own = {path.stem.replace("_", "-") for path in files}
    registered = {name for where, name in _registered if where == room}
    return sorted(own | registered | set(_installed(room)))


# looking through all installed packages takes some hundredths of a second
@lru_cache(maxsize=16)
def _installed(room: str) -> dict[str, EntryPoint]:
    """Plug-ins of a room that other installed packages declare."""
    group = f"labelsieve.{room.replace('/', '.')}"
    return {point.name: point for point in entry_points(group=group)}


def _file_of(room: str, name: str) -> Path | None:
    """The source file of one of our own plug-ins."""
    path = Path(__file__).parent / room / f"{name.replace('-', '_')}.py"
    return path if path.is_file() else None


def summary(room: str, name: str) -> str:
    """First line of a plug-in's docstring, read without importing it where it is ours."""
    path = _file_of(room, name)
    if path is None:
        text = load(room, name).__doc__ or ""
    else:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def constants(room: str, name: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Literal constants of a plug-in by lower-case name, read without importing ours."""
    path = _file_of(room, name)
    if path is None:
        module = load(room, name)
        present = [key for key in wanted if hasattr(module, key)]
        return {key.lower(): getattr(module, key) for key in present}
    values = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        # NAME = VALUE; a type alias or an unpacking is no constant
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            key = node.targets[0].id
            if key in wanted:
                values[key.lower()] = ast.literal_eval(node.value)
    return values


def load(room: str, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        OptionError: no plug-in has this name.
        MissingExtra: the plug-in needs a library that is not installed.
    """
    if name not in names(room):
        raise OptionError(unknown(ROOMS[room], name, names(room)))
    if (room, name) in _registered:
        return _registered[room, name]
    # our own come first: an installed package cannot take the place of one
    if _file_of(room, name) is None:
        return _load_installed(room, name)
    return need(f"labelsieve.{room.replace('/', '.')}.{name.replace('-', '_')}")


def _load_installed(room: str, name: str) -> ModuleType:
    """Import a plug-in of another package, whose faults are not ours."""
    point = _installed(room)[name]
    try:
        module: ModuleType = point.load()
    # whatever its module raises while it is imported
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(
            f"{ROOMS[room]} '{name}' ({point.value}) cannot be loaded: {reason}.",
            "Update or remove the package that brings it.",
        ) from error
    return module


def need(module: str) -> ModuleType:
    """Import a module that may lack an optional library.

    Raises:
        MissingExtra: it does; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # "peft.tuners" is missing where peft is
        library = (error.name or "").partition(".")[0]
        if library in EXTRAS:
            raise MissingExtra(library, EXTRAS[library]) from error
        raise
