"""Typed settings: defaults, then a preset, then a file, then --set.

A group of settings is a frozen dataclass that derives from `Bounded`. Type and bounds of a
field are declared once, in its annotation:

    epochs: Annotated[int, AtLeast(0)] = 10
    noise_rate: Annotated[float | None, Share()] = None

Unknown names, other types and values outside the bounds are refused with one sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from labelsieve.errors import OptionError, unknown

S = TypeVar("S")

# --- bounds: each says what is wrong with a value, or None where nothing is.
# A comparison with NaN is false, so every bound refuses NaN.


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """A number that is `bound` or more."""

    bound: float

    def refuses(self, value: Any) -> str | None:
        return None if value >= self.bound else f"It is at least {self.bound}."


@dataclasses.dataclass(frozen=True)
class AtMost:
    """A number that is `bound` or less."""

    bound: float

    def refuses(self, value: Any) -> str | None:
        return None if value <= self.bound else f"It is at most {self.bound}."


@dataclasses.dataclass(frozen=True)
class Above:
    """A number greater than `bound`."""

    bound: float

    def refuses(self, value: Any) -> str | None:
        return None if value > self.bound else f"It is greater than {self.bound}."


@dataclasses.dataclass(frozen=True)
class Below:
    """A number less than `bound`."""

    bound: float

    def refuses(self, value: Any) -> str | None:
        return None if value < self.bound else f"It is less than {self.bound}."


@dataclasses.dataclass(frozen=True)
class Share:
    """A part of a whole, from 0 to 1."""

    def refuses(self, value: Any) -> str | None:
        return None if 0 <= value <= 1 else "It is a share, from 0 to 1."


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A name from a list that is known only when the program runs."""

    names: Sequence[str]

    def refuses(self, value: Any) -> str | None:
        return None if value in self.names else unknown("Name", str(value), self.names)


Bound = AtLeast | AtMost | Above | Below | Share | OneOf


class Bounded:
    """A dataclass whose annotated bounds are checked when it is made.

    None stands for a value that is left to the program, and has no bounds.

    Raises:
        OptionError: a value outside its bounds.
    """

    def __post_init__(self) -> None:
        kind: type = type(self)
        for name, bounds in bounds_of(kind).items():
            value = getattr(self, name)
            if value is None:
                continue
            for bound in bounds:
                help = bound.refuses(value)
                if help is not None:
                    raise OptionError(f"{self.spoken(name)} cannot be {value}.", help)

    @staticmethod
    def spoken(name: str) -> str:
        """How messages call a field."""
        return f"Setting {name}"


class BoundedOptions(Bounded):
    """As `Bounded`, for options of the command line, which messages name as they are typed."""

    @staticmethod
    def spoken(name: str) -> str:
        return f"--{name.replace('_', '-')}"


# typing.get_type_hints takes longer than making the settings; a bench makes thousands
@lru_cache(maxsize=256)
def bounds_of(kind: type) -> dict[str, tuple[Bound, ...]]:
    """The bounds of each field that has any, as annotated."""
    bounds_by_name = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if typing.get_origin(hint) is not typing.Annotated:
            continue
        # the first argument of Annotated is the type itself
        bounds = tuple(x for x in typing.get_args(hint)[1:] if isinstance(x, Bound))
        if bounds:
            bounds_by_name[name] = bounds
    return bounds_by_name


def resolve(kind: type[S], *layers: Mapping[str, Any]) -> S:
    """Settings of type `kind`; later layers win.

    Raises:
        OptionError: an unknown name, a value that is not of the field's type, or one
            outside its bounds.
    """
    types_of = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            # the command line writes batch-size for batch_size
            key = name.replace("-", "_")
            if key not in types_of:
                raise OptionError(unknown("Setting", name, types_of))
            values[key] = _as_type(name, value, types_of[key])
    return kind(**values)


def override(options: S, choices: Mapping[str, Any], owner: str) -> S:
    """Options with some of their fields replaced, which keywords of a public function name.

    Args:
        owner: what has settings of its own, in messages: "method".

    Raises:
        OptionError: an unknown name, or a value outside its bounds.
    """
    known = typing.get_type_hints(type(options))
    for name in choices:
        if name not in known:
            raise OptionError(
                unknown("Option", name, known),
                f"Settings of the {owner} go into settings={{...}}.",
            )
    changed: S = dataclasses.replace(options, **choices)  # type: ignore[type-var]
    return changed


def _as_type(name: str, value: Any, wanted: Any) -> Any:
    """`value`, which may be text from the command line, as the field's type."""
    options = _alternatives(wanted)
    if type(None) in options and value in (None, "none", "auto"):
        return None
    # in the annotation's order: for int | float, 3 stays a whole number
    for option in options:
        # each reader raises where the value is not of its type, and the next one tries
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            return _READ.get(option, _read_choice)(value, option)
    choices = [str(c) for option in options for c in typing.get_args(option)]
    if choices:
        raise OptionError(unknown(f"Setting {name}: value", str(value), choices))
    words = " or ".join(_WORDS.get(option, str(option)) for option in options)
    raise OptionError(f"Setting {name} cannot be '{value}'.", f"It takes {words}.")


def _alternatives(wanted: Any) -> list[Any]:
    """The types of a union; one type alone otherwise."""
    # "int | None" and Optional[int] have different origins
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        return list(typing.get_args(wanted))
    return [wanted]


def _read_int(value: Any, _: Any) -> int:
    # "1e3" is a whole number, too; bool is an int in Python, and true is no number here
    number = value if isinstance(value, int) else float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _read_float(value: Any, _: Any) -> float:
    # text such as nan and inf is read by float, and ruins a training
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


# A table, since bool("false") is true.
_TRUTHS = {
    "true": True,
    "yes": True,
    "1": True,
    "false": False,
    "no": False,
    "0": False,
}


def _read_bool(value: Any, _: Any) -> bool:
    return _TRUTHS[str(value).lower()]


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
        OptionError: the file is missing, is neither TOML nor JSON, or is no table.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        parse = json.loads if Path(path).suffix == ".json" else tomllib.loads
        content = parse(text)
    except OSError as error:
        raise OptionError(
            f"--config '{path}' cannot be opened: {error.strerror}.",
            "Give a TOML or JSON file.",
        ) from error
    # UnicodeDecodeError and both parsers' errors are ValueErrors;
    # brackets nested by the thousand end in a RecursionError
    except (ValueError, RecursionError) as error:
        raise OptionError(
            f"--config '{path}' cannot be read: {error}.", "Give a TOML or JSON file."
        ) from error
    if not isinstance(content, dict):
        raise OptionError(
            f"--config '{path}' holds no settings.",
            "Give a TOML or JSON file of NAME = VALUE.",
        )
    return content


def parse_sets(pairs: Sequence[str]) -> dict[str, str]:
    """["lr=0.01"] -> {"lr": "0.01"}. Raises OptionError without an equals sign."""
    values = {}
    for pair in pairs:
        # at the first equals sign: the value may have more
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(
                f"--set '{pair}' is not NAME=VALUE.", "For example --set epochs=5."
            )
        values[name.strip()] = value.strip()
    return values


def as_dict(settings: Any) -> dict[str, Any]:
    """The resolved settings, ready for JSON."""
    return dataclasses.asdict(settings)
