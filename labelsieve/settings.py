"""Options: a frozen dataclass of defaults, then a preset, then a file, then --set; unknown names are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from labelsieve.errors import OptionError, unknown

S = TypeVar("S")


def resolve(kind: type[S], *layers: Mapping[str, Any]) -> S:
    """Settings of type `kind`; later layers win.

    Raises:
        OptionError: an unknown name, or a value that cannot be of the field's type.
    """
    types_of = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            key = name.replace("-", "_")
            if key not in types_of:
                raise OptionError(unknown("Setting", name, types_of))
            values[key] = _as_type(name, value, types_of[key])
    return kind(**values)


def _as_type(name: str, value: Any, wanted: Any) -> Any:
    """`value`, which may be text from the command line, as the field's type."""
    union = typing.get_origin(wanted) in (types.UnionType, typing.Union)
    options = list(typing.get_args(wanted)) if union else [wanted]
    if type(None) in options and value in (None, "none", "auto"):
        return None
    for option in options:
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            return _READ.get(option, _read_choice)(value, option)
    choices = [str(c) for option in options for c in typing.get_args(option)]
    if choices:
        raise OptionError(unknown(f"Setting {name}: value", str(value), choices))
    words = " or ".join(_WORDS.get(option, str(option)) for option in options)
    raise OptionError(f"Setting {name} cannot be '{value}'.", f"It takes {words}.")


def _read_int(value: Any, _: Any) -> int:
    number = (
        value if isinstance(value, int) else float(value)
    )  # "1e3" is a whole number, too
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _read_float(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _read_bool(value: Any, _: Any) -> bool:
    return {
        "true": True,
        "yes": True,
        "1": True,
        "false": False,
        "no": False,
        "0": False,
    }[str(value).lower()]


def _read_str(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _read_choice(value: Any, option: Any) -> Any:
    """One of a Literal's values, whose text the command line gives."""
    return {str(choice): choice for choice in typing.get_args(option)}[str(value)]


_READ: dict[Any, Any] = {
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "auto",
}


def read_file(path: str | Path) -> dict[str, Any]:
    """Settings from a TOML or JSON file.

    Raises:
        OptionError: not there, or not readable as such.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = (
            json.loads(text) if Path(path).suffix == ".json" else tomllib.loads(text)
        )
    except OSError as error:
        raise OptionError(
            f"--config '{path}' cannot be opened: {error.strerror}.",
            "Give a TOML or JSON file.",
        ) from error
    except ValueError as error:
        raise OptionError(
            f"--config '{path}' cannot be read: {error}.", "Give a TOML or JSON file."
        ) from error
    if not isinstance(found, dict):
        raise OptionError(
            f"--config '{path}' holds no settings.",
            "Give a TOML or JSON file of NAME = VALUE.",
        )
    return found


def parse_sets(pairs: Sequence[str]) -> dict[str, str]:
    """["lr=0.01"] -> {"lr": "0.01"}. Raises OptionError without an equals sign."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(
                f"--set '{pair}' is not NAME=VALUE.", "For example --set epochs=5."
            )
        found[name.strip()] = value.strip()
    return found


def as_dict(settings: Any) -> dict[str, Any]:
    """The resolved settings, ready for JSON."""
    return dataclasses.asdict(settings)
