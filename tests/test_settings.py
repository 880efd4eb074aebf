"""Settings: layers, types from text, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve.errors import OptionError
from labelsieve.settings import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Bounded,
    BoundedOptions,
    OneOf,
    Share,
    as_dict,
    bounds_of,
    override,
    parse_sets,
    read_file,
    resolve,
)


@dataclass(frozen=True)
class Settings:
    epochs: int = 6
    lr: float = 0.1
    size: int | None = None
    share: float | None = 0.5
    mirror: bool = True
    name: str = "vpt"
    kind: Literal["adam", "sgd"] = "adam"
    bits: Literal[8, 16] = 8
    rule: Literal["hard", "soft"] | None = None


def test_later_layers_win() -> None:
    settings = resolve(
        Settings, {"epochs": 1, "lr": 0.2}, {"epochs": 2}, {"epochs": "3"}
    )
    assert settings == Settings(epochs=3, lr=0.2)


def test_no_layers_are_the_defaults() -> None:
    assert resolve(Settings) == Settings()


@given(
    st.builds(
        Settings,
        epochs=st.integers(-(2**40), 2**40),
        lr=st.floats(allow_nan=False, allow_infinity=False),
        size=st.none() | st.integers(0, 10**6),
        share=st.none() | st.floats(0, 1),
        mirror=st.booleans(),
        name=st.text(min_size=1),
        kind=st.sampled_from(["adam", "sgd"]),
        bits=st.sampled_from([8, 16]),
        rule=st.sampled_from([None, "hard", "soft"]),
    )
)
def test_text_from_the_command_line_is_the_same_as_the_value(wanted: Settings) -> None:
    values = as_dict(wanted)
    assert resolve(Settings, values) == wanted
    assert (
        resolve(
            Settings,
            {
                name: str(value).lower() if value is None else str(value)
                for name, value in values.items()
            },
        )
        == wanted
    )
    assert resolve(Settings, json.loads(json.dumps(values))) == wanted


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "1e3", 1000),
        ("epochs", 4.0, 4),
        ("lr", "1e-3", 0.001),
        ("lr", 1, 1.0),
        ("size", "auto", None),
        ("size", "7", 7),
        ("share", "none", None),
        ("mirror", "No", False),
        ("mirror", "1", True),
        ("name", "none", "none"),
        ("bits", "16", 16),
        ("rule", "auto", None),
        ("rule", "soft", "soft"),
    ],
)
def test_what_text_means(name: str, text: Any, value: Any) -> None:
    meant = getattr(resolve(Settings, {name: text}), name)
    assert meant == value and type(meant) is type(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "x"),
        ("epochs", 3.5),
        ("epochs", "3.5"),
        ("epochs", True),
        ("epochs", "inf"),
        ("epochs", float("inf")),
        ("epochs", None),
        ("lr", "nan"),
        ("lr", "inf"),
        ("lr", False),
        ("lr", [0.1]),
        ("size", "big"),
        ("mirror", "perhaps"),
        ("mirror", 2),
        ("name", 3),
        ("kind", "adan"),
        ("bits", "32"),
        ("rule", "hardly"),
    ],
)
def test_what_a_setting_cannot_be(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        resolve(Settings, {name: value})
    assert f"Setting {name}" in str(caught.value) and str(value) in str(caught.value)


def test_choices_are_listed_with_the_nearest() -> None:
    with pytest.raises(
        OptionError, match=r"there are: adam, sgd\. Did you mean 'adam'\?"
    ):
        resolve(Settings, {"kind": "adan"})


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(
        OptionError,
        match=r"Setting 'epoch' is unknown; there are: .*Did you mean 'epochs'\?",
    ):
        resolve(Settings, {"epoch": 3})


def test_dashes_are_underscores() -> None:
    @dataclass(frozen=True)
    class Long:
        batch_size: int = 1

    assert resolve(Long, {"batch-size": 3}) == Long(3)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('epochs = 3\nkind = "sgd"\n')
    (tmp_path / "a.json").write_text('{"epochs": 4}')
    assert resolve(
        Settings, read_file(tmp_path / "a.toml"), read_file(tmp_path / "a.json")
    ) == Settings(4, kind="sgd")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "epochs = ", "cannot be read"),
        ("a.json", "{", "cannot be read"),
        ("b.json", "[1, 2]", "holds no settings"),
    ],
)
def test_files_that_are_none(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(OptionError, match=message):
        read_file(tmp_path / name)
    with pytest.raises(OptionError, match="cannot be opened"):
        read_file(tmp_path / "nowhere.toml")


def test_pairs() -> None:
    assert parse_sets(["lr=0.1", "name = a=b "]) == {"lr": "0.1", "name": "a=b"}
    for wrong in ("lr", "=3"):
        with pytest.raises(OptionError, match="is not NAME=VALUE"):
            parse_sets([wrong])


# --- bounds


@dataclass(frozen=True)
class Limits(Bounded):
    count: Annotated[int, AtLeast(0)] = 0
    lr: Annotated[float, Above(0)] = 0.1
    seed: Annotated[int, AtLeast(0), Below(2**63)] = 0
    rate: Annotated[float | None, Share()] = None
    crop: Annotated[float, AtMost(1)] = 1
    kind: Annotated[str, OneOf(("adam", "sgd"))] = "adam"


@dataclass(frozen=True)
class Options(BoundedOptions):
    batch_size: Annotated[int, AtLeast(1)] = 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", -1, "Setting count cannot be -1. It is at least 0."),
        ("lr", 0, "Setting lr cannot be 0. It is greater than 0."),
        ("lr", float("nan"), "Setting lr cannot be nan. It is greater than 0."),
        ("seed", -1, "Setting seed cannot be -1. It is at least 0."),
        ("seed", 2**63, f"Setting seed cannot be {2**63}. It is less than {2**63}."),
        ("crop", 1.5, "Setting crop cannot be 1.5. It is at most 1."),
        ("rate", 1.1, "Setting rate cannot be 1.1. It is a share, from 0 to 1."),
        ("rate", float("nan"), "It is a share, from 0 to 1."),
        ("kind", "adan", "Did you mean 'adam'?"),
    ],
)
def test_what_is_outside_its_bounds(name: str, value: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Limits(**{name: value})
    assert str(caught.value).endswith(message)


def test_what_is_within_its_bounds() -> None:
    for values in ({}, {"rate": None}, {"rate": 0.0}, {"rate": 1}, {"seed": 2**63 - 1}):
        Limits(**values)  # type: ignore[arg-type]


def test_bounds_hold_for_text_from_the_command_line() -> None:
    with pytest.raises(OptionError, match="Setting count cannot be -1"):
        resolve(Limits, {"count": "-1"})


def test_options_are_named_as_they_are_typed() -> None:
    with pytest.raises(OptionError, match=r"^--batch-size cannot be 0\. It is at"):
        Options(batch_size=0)


def test_only_fields_with_bounds_are_listed() -> None:
    assert bounds_of(Limits)["seed"] == (AtLeast(0), Below(2**63))
    assert bounds_of(Settings) == {}


def test_keywords_replace_fields_and_are_checked() -> None:
    assert override(Limits(count=1), {"lr": 0.5}, "method") == Limits(1, 0.5)
    with pytest.raises(OptionError, match=r"'cuont' is unknown.*Did you mean 'count'"):
        override(Limits(), {"cuont": 1}, "method")
    with pytest.raises(OptionError, match="Setting count cannot be -1"):
        override(Limits(), {"count": -1}, "method")
