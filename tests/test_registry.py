"""Plug-ins are files: names, first lines and constants without an import, and loading with a
"did you mean"."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from labelsieve import registry
from labelsieve.errors import MissingExtra, OptionError

ROOT = Path(__file__).parent.parent
ROOMS = tuple(room for room in registry.ROOMS if room != "corrections/writers")
PLUGINS = [(room, name) for room in ROOMS for name in registry.names(room)]


def test_names_are_files_with_dashes() -> None:
    for room in ROOMS:
        files = {p.stem for p in (ROOT / "labelsieve" / room).glob("[!_]*.py")}
        assert {n.replace("-", "_") for n in registry.names(room)} == files
        assert registry.names(room) == sorted(registry.names(room))
        assert not any("_" in n for n in registry.names(room))
    assert ("methods", "deft") in PLUGINS and (
        "noise/generators",
        "symmetric",
    ) in PLUGINS


@pytest.mark.parametrize(("room", "name"), PLUGINS)
def test_what_is_read_without_import_is_what_the_import_has(
    room: str, name: str
) -> None:
    module = registry.load(room, name)
    assert (module.__doc__ or "").splitlines()[0] == registry.summary(room, name) != ""
    wanted = ("COST", "NEEDS", "FAMILY")
    assert registry.constants(room, name, wanted) == {
        n.lower(): getattr(module, n) for n in wanted if hasattr(module, n)
    }


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from labelsieve import registry\n"
        f"for room in {ROOMS!r}:\n"
        "    for name in registry.names(room):\n"
        "        registry.summary(room, name)\n"
        "        registry.constants(room, name, ('COST', 'NEEDS', 'FAMILY'))\n"
        "assert not {'torch', 'numpy', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize(
    ("room", "near", "right"),
    [("methods", "defft", "deft"), ("noise/generators", "symetric", "symmetric")],
)
def test_an_unknown_name_is_told_the_nearest(room: str, near: str, right: str) -> None:
    with pytest.raises(OptionError) as caught:
        registry.load(room, near)
    for name in registry.names(room):
        assert name in str(caught.value)
    assert str(caught.value).endswith(f"Did you mean '{right}'?")


def test_names_of_files_that_are_no_plugins_are_unknown() -> None:
    for name in ("__init__", "-towers", "../cli", ""):
        with pytest.raises(OptionError, match="is unknown"):
            registry.load("models/families", name)


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "peft", None
    )  # what Python does for a library that is not installed
    with pytest.raises(MissingExtra, match=r"pip install 'labelsieve\[lora\]'"):
        registry.need("peft")


def test_a_missing_module_of_ours_stays_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        registry.need("labelsieve.nowhere")


def test_every_extra_can_be_installed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]["optional-dependencies"]
    for library, extra in registry.EXTRAS.items():
        # a distribution may be written with either
        lines = [line.replace("_", "-") for line in extras.get(extra, [])]
        brought = any(library.replace("_", "-") in line for line in lines)
        assert brought, f"[{extra}] does not bring {library}"


# --- from outside the package


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that offers what an export offers."""
    module = ModuleType("theirs")
    module.__doc__ = "Their format.\n\nMore."
    module.EXTRA = "x"  # type: ignore[attr-defined]
    monkeypatch.setattr(registry, "_registered", {})
    yield module
    registry._installed.cache_clear()


def test_a_module_can_be_registered(outside: ModuleType) -> None:
    registry.register("exports", "theirs", outside)
    assert "theirs" in registry.names("exports")
    assert "theirs" not in registry.names("methods")
    assert registry.load("exports", "theirs") is outside
    assert registry.summary("exports", "theirs") == "Their format."
    assert registry.constants("exports", "theirs", ("EXTRA", "NONE")) == {"extra": "x"}


def test_a_taken_name_and_an_unknown_room_are_refused(outside: ModuleType) -> None:
    registry.register("exports", "theirs", outside)
    for name in ("theirs", "csv"):
        with pytest.raises(OptionError, match=f"Export '{name}' exists already"):
            registry.register("exports", name, outside)
    with pytest.raises(OptionError, match="Did you mean 'exports'"):
        registry.register("export", "theirs", outside)


def install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """As if a package with this entry point were installed."""
    point = EntryPoint(name, value, "labelsieve.data.sources")

    def entry_points(group: str) -> list[EntryPoint]:
        return [point] if group == point.group else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    registry._installed.cache_clear()


def test_an_installed_package_brings_a_source(
    outside: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "theirs", outside)
    install(monkeypatch, "lance", "theirs")
    assert "lance" in registry.names("data/sources")
    assert registry.load("data/sources", "lance") is outside
    assert registry.summary("data/sources", "lance") == "Their format."


def test_an_installed_package_cannot_replace_ours(
    outside: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "table", "theirs")
    assert registry.names("data/sources").count("table") == 1
    assert registry.load("data/sources", "table").__name__ == (
        "labelsieve.data.sources.table"
    )


def test_an_installed_package_that_is_broken_is_named(
    outside: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "lance", "nowhere.at_all")
    with pytest.raises(
        OptionError, match=r"Source 'lance' \(nowhere\.at_all\) cannot be loaded"
    ):
        registry.load("data/sources", "lance")
