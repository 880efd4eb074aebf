"""A configuration of the bench, read and checked before anything runs.

    seeds = [0, 1, 2]                    # of planted errors, and of methods
    [[tower]]   name, model              # model: what --model of scan takes; default: the name
    [[method]]  name, method, preset, settings
    [[data]]    name; one of path, archive, embedded; noise, a list; limit; and what scan is told of data
    noise       kind and rate (as labelsieve noise), or kind = "recorded" and column, the labels that somebody gave

`truth_column` names the true labels. Planted errors replace them (or the only labels there are); recorded ones are another
column of the same table.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from labelsieve import registry
from labelsieve.errors import LabelsieveError, MissingExtra, OptionError, unknown
from labelsieve.noise.planting import RATED
from labelsieve.settings import read_file, resolve

READY = Path(__file__).parent.parent / "assets" / "bench"
EMBEDDED = ("digits",)
AXES = ("tower", "data", "noise", "method", "seed")
E = TypeVar("E")


@dataclass(frozen=True)
class Tower:
    """An image-text model and how tables call it."""

    name: str
    model: str | None = None


@dataclass(frozen=True)
class Method:
    """A method with its settings, and how tables call it."""

    name: str
    method: str | None = None
    preset: str = "default"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def detector(self) -> str:
        """Its file's name in `labelsieve/methods/`."""
        return self.method or self.name


@dataclass(frozen=True)
class Noise:
    """How wrong labels come about; see `labelsieve.noise.planting.Plan`."""

    kind: str
    rate: float | None = None
    column: str | None = None
    matrix: str | None = None
    map: str | None = None
    centre: bool = False
    name: str | None = None

    @property
    def label(self) -> str:
        """How tables call it."""
        rate = "" if self.rate is None else f" {100 * self.rate:g} %"
        return self.name or self.column or f"{self.kind}{rate}"


@dataclass(frozen=True)
class Data:
    """A data set. `path` and `archive` lie below --data-root; columns, split, root and template are as in scan."""

    name: str
    path: str | None = None
    archive: str | None = None
    embedded: str | None = None
    folder: str | None = None  # of an archive, below --data-root
    image_column: str | None = None
    label_column: str | None = None
    truth_column: str | None = None
    id_column: str | None = None
    root: str | None = None
    split: str | None = None
    template: str = "a photo of a {}."
    limit: int | None = None  # so many images, drawn once for all cells
    class_names: Mapping[str, str] | str = field(
        default_factory=dict
    )  # or a file below --data-root
    noise: tuple[Noise, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One scan: a method on a data set with one noise and one seed, on one tower."""

    tower: Tower
    data: Data
    noise: Noise
    method: Method
    seed: int

    def names(self) -> dict[str, str]:
        """What each axis calls it."""
        values = (
            self.tower.name,
            self.data.name,
            self.noise.label,
            self.method.name,
            str(self.seed),
        )
        return dict(zip(AXES, values, strict=True))


@dataclass(frozen=True)
class Plan:
    """Everything that is to run."""

    name: str
    towers: tuple[Tower, ...]
    methods: tuple[Method, ...]
    data: tuple[Data, ...]
    seeds: tuple[int, ...] = (0,)

    def cells(self) -> Iterator[Cell]:
        """All of them, in the order of the configuration."""
        for tower, data in itertools.product(self.towers, self.data):
            for noise, method, seed in itertools.product(
                data.noise, self.methods, self.seeds
            ):
                yield Cell(tower, data, noise, method, seed)


def ready() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(p.stem for p in READY.glob("*.toml"))


def read(wanted: str, towers: Sequence[str] = ()) -> Plan:
    """The plan of a ready configuration's name or of a file.

    Args:
        towers: "NAME=DIR", in addition to the configuration's or in place of the one of the same name.

    Raises:
        OptionError: no such configuration, or something in it that cannot be; says where.
    """
    path = READY / f"{wanted}.toml"
    if wanted not in ready():
        path = Path(wanted)
        if path.suffix not in (".toml", ".json"):
            raise OptionError(
                unknown("Configuration", wanted, ready()), "Or name a TOML file."
            )
    try:
        made = _plan(path.stem, read_file(path))
    except LabelsieveError as error:
        what = error.what.removeprefix("--config ")
        raise OptionError(
            what if str(path) in what else f"'{path}': {what}", error.do
        ) from error
    for pair in towers:
        name, equals, model = pair.partition("=")
        if not (equals and name and model):
            raise OptionError(
                f"--tower '{pair}' is not NAME=MODEL.",
                "For example --tower bench=towers/bench.",
            )
        kept = tuple(t for t in made.towers if t.name != name)
        made = replace(made, towers=(*kept, Tower(name, model)))
    return made


def _plan(name: str, table: Mapping[str, Any]) -> Plan:
    keys = ("tower", "method", "data", "seeds")
    for key in table:
        if key not in keys:
            raise OptionError(unknown("Key", key, keys))
    seeds = table.get("seeds", [0])
    if not (
        isinstance(seeds, list)
        and seeds
        and all(type(s) is int and 0 <= s < 2**63 for s in seeds)
    ):
        raise OptionError(
            f"seeds cannot be {seeds}.", "It is a list of whole numbers from 0 on."
        )
    made = Plan(
        name,
        tuple(_tower(t) for t in _entries(table, "tower")),
        tuple(_method(t) for t in _entries(table, "method")),
        tuple(_data(t) for t in _entries(table, "data")),
        tuple(dict.fromkeys(seeds)),
    )
    _check_names(made)
    return made


def _entries(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = table.get(key, [])
    if not (
        isinstance(found, list) and found and all(isinstance(e, dict) for e in found)
    ):
        raise OptionError(f"There is no [[{key}]].", f"Name at least one {key}.")
    for entry in found:
        if not (isinstance(entry.get("name"), str) and entry["name"].strip()):
            raise OptionError(f"A [[{key}]] has no name.", 'Write name = "…".')
    return found


def _check_names(plan: Plan) -> None:
    """Names tell cells apart, so each is there once, and what each data set calls its noise, too."""
    names = {
        "tower": [t.name for t in plan.towers],
        "method": [m.name for m in plan.methods],
        "data": [d.name for d in plan.data],
    }
    names |= {f"noise of '{d.name}'": [n.label for n in d.noise] for d in plan.data}
    for key, given in names.items():
        twice = [n for n in given if given.count(n) > 1]
        if twice:
            raise OptionError(
                f"The {key} '{twice[0]}' is there twice.",
                "Give each a name of its own.",
            )


def _resolve(kind: type[E], entry: Mapping[str, Any], where: str) -> E:
    """An entry's plain values as `kind`; says which entry is at fault."""
    try:
        return resolve(kind, entry)
    except OptionError as error:
        raise OptionError(f"{where}: {error.what}", error.do) from error


def _tower(entry: Mapping[str, Any]) -> Tower:
    return _resolve(Tower, entry, f"tower '{entry['name']}'")


def _method(entry: dict[str, Any]) -> Method:
    where = f"method '{entry['name']}'"
    settings = entry.get("settings", {})
    if not isinstance(settings, dict):
        raise OptionError(
            f"{where}: settings cannot be {settings}.",
            "Write settings = { name = value }.",
        )
    plain = _resolve(Method, {k: v for k, v in entry.items() if k != "settings"}, where)
    found = replace(plain, settings=settings)
    try:
        _check_settings(found)
    except MissingExtra:
        return found  # its cells will say what is not installed, and the others run
    except OptionError as error:
        raise OptionError(f"{where}: {error.what}", error.do) from error
    return found


def _check_settings(method: Method) -> None:
    room = registry.load("methods", method.detector)
    if method.preset not in room.PRESETS:
        raise OptionError(unknown("preset", method.preset, room.PRESETS))
    resolve(room.Settings, room.PRESETS[method.preset], method.settings)


def _data(entry: dict[str, Any]) -> Data:
    where = f"data '{entry['name']}'"
    names, noise = entry.get("class_names", {}), entry.get("noise", [])
    if not isinstance(names, str) and not (
        isinstance(names, dict) and all(isinstance(n, str) for n in names.values())
    ):
        raise OptionError(
            f"{where}: class_names cannot be {names}.",
            "Write { label = 'name' }, or name a file.",
        )
    if not (
        isinstance(noise, list) and noise and all(isinstance(n, dict) for n in noise)
    ):
        raise OptionError(
            f"{where}: noise is missing.",
            'For example noise = [{ kind = "symmetric", rate = 0.2 }].',
        )
    found = _resolve(
        Data,
        {k: v for k, v in entry.items() if k not in ("class_names", "noise")},
        where,
    )
    if sum(s is not None for s in (found.path, found.archive, found.embedded)) != 1:
        raise OptionError(f"{where}: it needs one of path, archive and embedded.")
    for room, value, known in (
        ("archive", found.archive, registry.names("data/archives")),
        ("embedded", found.embedded, EMBEDDED),
    ):
        if value is not None and value not in known:
            raise OptionError(f"{where}: {unknown(room, value, known)}")
    if found.limit is not None and found.limit < 1:
        raise OptionError(
            f"{where}: limit cannot be {found.limit}.", "It is at least 1."
        )
    return replace(
        found, class_names=names, noise=tuple(_noise(n, found, where) for n in noise)
    )


def _noise(entry: dict[str, Any], data: Data, where: str) -> Noise:
    if "kind" not in entry:
        raise OptionError(
            f"{where}: a noise has no kind.",
            f"There are: {', '.join(registry.names('noise/generators'))}.",
        )
    found = _resolve(Noise, entry, where)
    if found.kind not in registry.names("noise/generators"):
        raise OptionError(
            f"{where}: {unknown('Noise', found.kind, registry.names('noise/generators'))}"
        )
    if found.kind in RATED and not (found.rate is not None and 0 <= found.rate <= 1):
        raise OptionError(
            f"{where}: noise '{found.kind}' needs a rate from 0 to 1.",
            "For example rate = 0.2.",
        )
    if (
        found.kind == "recorded"
        and data.archive is None
        and not (found.column and data.truth_column)
    ):
        raise OptionError(
            f"{where}: recorded noise needs its column, and the data's truth_column."
        )
    return found


def narrow(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells that all of `only` let pass.

    Args:
        only: "KEY=NAME,KEY=NAME…"; KEY is one of `AXES`, NAME may have * and ?. Of the same key any may hold, of different
            keys all must.

    Raises:
        OptionError: an unknown key, or a name that no cell has.
    """
    wanted: dict[str, list[str]] = {}
    for key, name in _pairs(only):
        known = dict.fromkeys(c.names()[key] for c in cells)
        if not any(fnmatch.fnmatchcase(k, name) for k in known):
            raise OptionError(f"--only {key}={name}: {unknown(key, name, known)}")
        wanted.setdefault(key, []).append(name)
    return [
        c
        for c in cells
        if all(
            any(fnmatch.fnmatchcase(c.names()[k], n) for n in v)
            for k, v in wanted.items()
        )
    ]


def _pairs(only: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in only:
        for part in re.split(
            rf",(?=\s*(?:{'|'.join(AXES)})=)", text
        ):  # names may have commas
            key, equals, name = (s.strip() for s in part.partition("="))
            if not equals or not name:
                raise OptionError(
                    f"--only '{part}' is not KEY=NAME.",
                    "For example --only method=knn,data=digits.",
                )
            if key not in AXES:
                raise OptionError(f"--only '{part}': {unknown('Key', key, AXES)}")
            yield key, name
