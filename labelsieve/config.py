"""Options: a frozen dataclass of defaults, then a preset, then a file, then --set; unknown names are refused."""

from __future__ import annotations

import dataclasses
import json
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
    options = [t for t in typing.get_args(wanted)] if isinstance(wanted, types.UnionType) else [wanted]
    if typing.get_origin(wanted) is typing.Literal:
        if value in typing.get_args(wanted):
            return value
        raise OptionError(unknown(f"{name}: value", str(value), map(str, typing.get_args(wanted))))
    if type(None) in options and value in (None, "none", "auto"):
        return None
    for option in options:
        if option is bool and str(value).lower() in ("true", "false", "yes", "no", "1", "0"):
            return str(value).lower() in ("true", "yes", "1")
        if option in (int, float) and not isinstance(value, bool):
            try:
                return option(value) if option is float or float(value).is_integer() is False else int(float(value))
            except (TypeError, ValueError):
                continue
        if option is str and isinstance(value, str):
            return value
    words = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    raise OptionError(f"Setting {name} cannot be '{value}'.", f"It takes {words.replace('NoneType', 'auto')}.")


def read_file(path: str | Path) -> dict[str, Any]:
    """Settings from a TOML or JSON file.

    Raises:
        OptionError: not there, or not readable as such.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = json.loads(text) if Path(path).suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise OptionError(
            f"--config '{path}' cannot be opened: {error.strerror}.", "Give a TOML or JSON file."
        ) from error
    except ValueError as error:
        raise OptionError(f"--config '{path}' cannot be read: {error}.", "Give a TOML or JSON file.") from error
    return dict(found)


def parse_sets(pairs: Sequence[str]) -> dict[str, str]:
    """["lr=0.01"] -> {"lr": "0.01"}. Raises OptionError without an equals sign."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(f"--set '{pair}' is not NAME=VALUE.", "For example --set epochs=5.")
        found[name.strip()] = value.strip()
    return found


def as_dict(settings: Any) -> dict[str, Any]:
    """The resolved settings, ready for JSON."""
    return dataclasses.asdict(settings)
