"""A configuration of the bench, read and checked before anything runs.

    seeds = [0, 1, 2]                    # of planted errors, and of methods
    [[tower]]   name, model              # model: what --model of scan takes; default: the name
    [[method]]  name, method, preset, settings; noise_rate = "realised" tells it the share of
                wrong labels
    [[data]]    name; one of path, archive, embedded; noise, a list; limit; and what scan is
                told of data
    noise       kind and rate (as labelsieve noise), or kind = "recorded" and column, the
                labels that somebody gave; of mosaics kind = "sets", rate and added

`mosaics` makes so many pictures of four of the data's (labelsieve.bench.sets.mosaics), with sets
of labels: of `rate` the share that is left out, of `added` what is put in for each that is there.

`truth_column` names the true labels. Planted errors replace them (or the only labels there
are); recorded ones are another column of the same table.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from labelsieve import registry
from labelsieve.errors import LabelsieveError, MissingExtra, OptionError, unknown
from labelsieve.noise.planting import RATED
from labelsieve.settings import AtLeast, Bounded, read_file, resolve

READY = Path(__file__).parent.parent / "assets" / "bench"
EMBEDDED = ("digits",)  # data sets that come with the package
AXES = ("tower", "data", "noise", "method", "seed")
KEYS = ("tower", "method", "data", "seeds")  # of a configuration
# As noise_rate of a method: the share of wrong labels that its cell really has.
REALISED = "realised"
SETS = "sets"  # the kind of errors in sets of labels
LARGEST_SEED = 2**63 - 1  # torch's generators take no larger one
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
    """How wrong labels come about; see `labelsieve.noise.context.Plan`."""

    kind: str
    rate: float | None = None
    column: str | None = None
    matrix: str | None = None
    map: str | None = None
    centre: bool = False
    name: str | None = None
    added: float = 0.0

    @property
    def label(self) -> str:
        """How tables call it."""
        # :g writes 20 and not 20.0, and leaves 12.5 as it is
        rate = "" if self.rate is None else f" {100 * self.rate:g} %"
        return self.name or self.column or f"{self.kind}{rate}"


@dataclass(frozen=True)
class Data(Bounded):
    """A data set; columns, split, root, own embeddings and template are as in scan.

    `path`, `archive` and files of class names or own numbers lie below --data-root.
    """

    name: str
    path: str | None = None
    archive: str | None = None
    embedded: str | None = None
    folder: str | None = None  # of an archive, below --data-root
    image_column: str | None = None
    label_column: str | None = None
    truth_column: str | None = None
    id_column: str | None = None
    label_separator: str | None = None
    vote_columns: str | None = None
    count_columns: str | None = None
    items: str | None = None
    urls: str | None = None
    root: str | None = None
    split: str | None = None
    template: str = "a photo of a {}."
    # so many images, drawn once for all cells
    limit: Annotated[int | None, AtLeast(1)] = None
    mosaics: Annotated[int | None, AtLeast(1)] = None
    # label -> name in prompts, or a file of them
    class_names: Mapping[str, str] | str = field(default_factory=dict)
    embeddings: str | None = None
    pred_probs: str | None = None
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
        return {
            "tower": self.tower.name,
            "data": self.data.name,
            "noise": self.noise.label,
            "method": self.method.name,
            "seed": str(self.seed),  # text, as --only compares names
        }


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
            within = itertools.product(data.noise, self.methods, self.seeds)
            for noise, method, seed in within:
                yield Cell(tower, data, noise, method, seed)


def ready() -> list[str]:
    """Names of the configurations that come with the package."""
    # folders are listed in any order
    return sorted(path.stem for path in READY.glob("*.toml"))


def read(config: str, towers: Sequence[str] = ()) -> Plan:
    """The plan of a ready configuration's name or of a file.

    Args:
        towers: "NAME=DIR", in addition to the configuration's or in place of the one of the
            same name.

    Raises:
        OptionError: no such configuration, or something in it that cannot be; says where.
    """
    path = _path_of(config)
    try:
        plan = _plan(path.stem, read_file(path))
    except LabelsieveError as error:
        # read_file speaks of the option of scan; here it is the bench's file
        what = error.what.removeprefix("--config ")
        if str(path) not in what:
            what = f"'{path}': {what}"
        raise OptionError(what, error.do) from error
    for pair in towers:
        plan = _with_tower(plan, pair)
    return plan


def _path_of(config: str) -> Path:
    # a ready configuration's name comes first: files have a suffix
    if config in ready():
        return READY / f"{config}.toml"
    path = Path(config)
    if path.suffix not in (".toml", ".json"):
        raise OptionError(
            unknown("Configuration", config, ready()), "Or name a TOML file."
        )
    return path


def _with_tower(plan: Plan, pair: str) -> Plan:
    # at the first equals sign: a folder's name may have more
    name, equals, model = pair.partition("=")
    if not (equals and name and model):
        raise OptionError(
            f"--tower '{pair}' is not NAME=MODEL.",
            "For example --tower bench=towers/bench.",
        )
    # the one of the same name gives way
    kept = [tower for tower in plan.towers if tower.name != name]
    return replace(plan, towers=(*kept, Tower(name, model)))


def _plan(name: str, table: Mapping[str, Any]) -> Plan:
    # a mistyped key would else be left out without a word
    for key in table:
        if key not in KEYS:
            raise OptionError(unknown("Key", key, KEYS))
    plan = Plan(
        name,
        tuple(map(_tower, _entries(table, "tower"))),
        tuple(map(_method, _entries(table, "method"))),
        tuple(map(_data, _entries(table, "data"))),
        _seeds(table.get("seeds", [0])),
    )
    _check_names(plan)
    return plan


def _seeds(seeds: Any) -> tuple[int, ...]:
    """Each once, in the given order."""
    error = OptionError(
        f"seeds cannot be {seeds}.", "It is a list of whole numbers from 0 on."
    )
    if not isinstance(seeds, list) or not seeds:
        raise error
    for seed in seeds:
        # not isinstance: true is an int, too
        if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
            raise error
    # the same seed again would be the same cells in the same folders
    return tuple(dict.fromkeys(seeds))


def _entries(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = table.get(key, [])
    if not _is_list_of(entries, dict):
        raise OptionError(f"There is no [[{key}]].", f"Name at least one {key}.")
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise OptionError(f"A [[{key}]] has no name.", 'Write name = "…".')
    return list(entries)


def _is_list_of(value: Any, kind: type) -> bool:
    """Whether it is a list with something in it, all of a kind."""
    return isinstance(value, list) and bool(value) and _are_all(value, kind)


def _are_all(values: Any, kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


def _check_names(plan: Plan) -> None:
    """Names tell cells apart, so each is there once, as is what each data set calls its noise."""
    _check_unique("tower", [tower.name for tower in plan.towers])
    _check_unique("method", [method.name for method in plan.methods])
    _check_unique("data", [data.name for data in plan.data])
    for data in plan.data:
        _check_unique(f"noise of '{data.name}'", [noise.label for noise in data.noise])


def _check_unique(key: str, names: Sequence[str]) -> None:
    # few names, so counting each is fast enough
    for name in names:
        if names.count(name) > 1:
            raise OptionError(
                f"The {key} '{name}' is there twice.", "Give each a name of its own."
            )


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Say of an error which entry is at fault."""
    try:
        yield
    except OptionError as error:
        raise OptionError(f"{where}: {error.what}", error.do) from error


def _without(entry: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}


def _tower(entry: Mapping[str, Any]) -> Tower:
    with _named(f"tower '{entry['name']}'"):
        return resolve(Tower, entry)


def _method(entry: dict[str, Any]) -> Method:
    settings = entry.get("settings", {})
    with _named(f"method '{entry['name']}'"):
        if not isinstance(settings, dict):
            raise OptionError(
                f"settings cannot be {settings}.", "Write settings = { name = value }."
            )
        # settings are the method's own fields, checked against its file below
        plain = resolve(Method, _without(entry, "settings"))
        method = replace(plain, settings=settings)
        # where a library is not installed its cells will say so, and the others run
        with contextlib.suppress(MissingExtra):
            _check_settings(method)
    return method


def _check_settings(method: Method) -> None:
    # as scan would refuse them, before the first cell runs
    room = registry.load("methods", method.detector)
    if method.preset not in room.PRESETS:
        raise OptionError(unknown("preset", method.preset, room.PRESETS))
    settings = dict(method.settings)
    # a number by the time of the scan
    if settings.get("noise_rate") == REALISED:
        settings["noise_rate"] = 0.5
    resolve(room.Settings, room.PRESETS[method.preset], settings)


def _data(entry: dict[str, Any]) -> Data:
    names = entry.get("class_names", {})
    noise = entry.get("noise", [])
    with _named(f"data '{entry['name']}'"):
        _check_class_names(names)
        if not _is_list_of(noise, dict):
            raise OptionError(
                "noise is missing.",
                'For example noise = [{ kind = "symmetric", rate = 0.2 }].',
            )
        data = resolve(Data, _without(entry, "class_names", "noise"))
        _check_source(data)
        noises = tuple(_noise(one, data) for one in noise)
    return replace(data, class_names=names, noise=noises)


def _check_class_names(names: Any) -> None:
    is_table = isinstance(names, dict) and _are_all(names.values(), str)
    if not is_table and not isinstance(names, str):
        raise OptionError(
            f"class_names cannot be {names}.",
            "Write { label = 'name' }, or name a file.",
        )


def _check_source(data: Data) -> None:
    # two of the three are left out
    if [data.path, data.archive, data.embedded].count(None) != 2:
        raise OptionError("it needs one of path, archive and embedded.")
    archives = registry.names("data/archives")
    if data.archive is not None and data.archive not in archives:
        raise OptionError(unknown("archive", data.archive, archives))
    if data.embedded is not None and data.embedded not in EMBEDDED:
        raise OptionError(unknown("embedded", data.embedded, EMBEDDED))


def _noise(entry: dict[str, Any], data: Data) -> Noise:
    singles = [name for name in registry.names("noise/generators") if name != SETS]
    kinds = [SETS] if data.mosaics else singles
    if "kind" not in entry:
        raise OptionError(
            "a noise entry lacks its kind.", f"There are: {', '.join(kinds)}."
        )
    noise = resolve(Noise, entry)
    if noise.kind not in kinds:
        raise OptionError(unknown("Noise", noise.kind, kinds))
    _check_noise(noise, data)
    return noise


def _check_noise(noise: Noise, data: Data) -> None:
    """Raises OptionError when it lacks what decides it."""
    # a chain of comparisons refuses NaN, too
    if noise.kind in RATED and not (noise.rate is not None and 0 <= noise.rate <= 1):
        raise OptionError(
            f"noise '{noise.kind}' needs a rate from 0 to 1.", "For example rate = 0.2."
        )
    # an archive knows where its recorded labels are
    votes = data.vote_columns or data.count_columns
    named = (noise.column or votes) and data.truth_column
    if noise.kind == "recorded" and data.archive is None and not named:
        raise OptionError(
            "recorded noise needs its column, and the data's truth_column."
        )
    # a table of drawn images has one column of labels
    if noise.kind == "recorded" and not noise.column and votes and data.limit:
        raise OptionError("recorded votes are judged whole: leave limit out.")
