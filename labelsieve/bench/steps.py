"""From a plan to steps: pieces of work, each with a folder named after what decides its result.

    OUT/data/…      material: a table of images with given and true labels, or where such a
                    table is; truth: without given ones
    OUT/towers/…    headroom: features of a tower for a data set, and how good they are on true
                    labels
    OUT/cells/…     a cell: the run folder of an ordinary scan, and its figures

Each leaves `result.json` in its folder, whose name ends in a fingerprint of configuration, data
and weights: a step whose inputs changed is another step.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelsieve import registry
from labelsieve.bench.material import OWN, own_files
from labelsieve.bench.plan import AXES, Cell, Data, Noise, Tower
from labelsieve.errors import OptionError, RunError, unknown
from labelsieve.files import fingerprint, read_json, readable, sha256, write_json
from labelsieve.models.hugging_face import TINY

RESULT = "result.json"
DIGEST = "digest"  # field of a result that holds the digest of the others
SEEDED = ("recorded",)  # noise that no seed decides
# Characters of a folder's name before the fingerprint; file systems allow 255 bytes.
LONGEST_NAME = 120


@dataclass(frozen=True)
class Workspace:
    """Where the bench works, and on what."""

    output: Path
    data_root: Path
    device: str = "auto"
    precision: str = "auto"


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """What a step leaves in its folder, with a digest: figures are believed for years."""
    # as it is read again: JSON has no paths and no tuples
    plain = json.loads(json.dumps(result, default=str))
    write_json(folder / RESULT, {**plain, DIGEST: fingerprint(plain)})


def read_result(folder: Path) -> dict[str, Any]:
    """What a step left.

    Raises:
        RunError: it left nothing, or a bit of it has changed.
    """
    result = read_json(folder / RESULT)
    if result.pop(DIGEST, None) != fingerprint(result):
        raise RunError(f"'{readable(folder / RESULT)}' is damaged.")
    return result


@dataclass(frozen=True, eq=False)
class Step:
    """One piece of work for one process.

    Attributes:
        kind: a name of `labelsieve.bench.worker.STEPS`.
        folder: where its job and its result lie.
        job: what the process is told.
        tower: the name of the tower it works with, None where there is none.
        needs: steps whose results it reads.
        cell: what it is a cell of, None for the others.
    """

    kind: str
    folder: Path
    job: dict[str, Any]
    tower: str | None = None
    needs: tuple[Step, ...] = ()
    cell: Cell | None = None

    def result(self) -> dict[str, Any] | None:
        """What it left, None where it is not finished."""
        try:
            return read_result(self.folder)
        except RunError:
            return None

    def done(self) -> bool:
        """Whether it need not run again; what failed is tried again."""
        result = self.result()
        if result is None or result.get("state") != "done":
            return False
        # the cache may have been cleared
        return "features" not in result or Path(result["features"]).exists()

    def prepare(self) -> None:
        """Write down what the process is to do."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # an old result would pass for this one's if the process died
        (self.folder / RESULT).unlink(missing_ok=True)
        needs = [str(need.folder) for need in self.needs]
        job = {"kind": self.kind, "needs": needs, **self.job}
        write_json(self.folder / "job.json", job)


def of(cells: Sequence[Cell], workspace: Workspace) -> list[Step]:
    """Steps of some cells.

    What they need comes before them, and cells that train a tower before the others, so that
    the longest do not begin last.
    """
    maker = _Maker(workspace)  # it collects what cells share while they are made
    slow: list[Step] = []
    fast: list[Step] = []
    for cell in cells:
        trains = "pixels" in _needs(cell.method.detector)
        (slow if trains else fast).append(maker.cell(cell))
    return [*maker.materials.values(), *maker.headrooms.values(), *slow, *fast]


def _needs(detector: str) -> Sequence[str]:
    """What a method reads: "text", "image", "pixels"."""
    needs: Sequence[str] = registry.constants("methods", detector, ("NEEDS",))["needs"]
    return needs


class _Maker:
    """Steps that several cells share are made once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        # by the name of the folder, in which the fingerprint tells contents apart
        self.materials: dict[str, Step] = {}
        self.headrooms: dict[tuple[str, str], Step] = {}
        self._stamps: dict[Path, str | None] = {}

    def cell(self, cell: Cell) -> Step:
        """The step of a cell, and on the way what it needs."""
        material = self._material(cell.data, cell.noise, cell.seed)
        headroom = self._headroom(cell.tower, cell.data)
        scan = {
            "method": cell.method.detector,
            "model": _model(cell.tower),
            "preset": cell.method.preset,
            "settings": dict(cell.method.settings),
            "seed": cell.seed,
            **self._machine(),
        }
        names = cell.names()
        # for people; the fingerprint behind it tells folders apart
        named = (*list(names.values())[:-1], f"seed {cell.seed}")
        identity = [scan, material.folder.name, headroom.folder.name]
        return Step(
            "cell",
            self._folder("cells", named, identity),
            {"scan": scan, "names": names},
            cell.tower.name,
            (material, headroom),
            cell,
        )

    def _material(self, data: Data, noise: Noise, seed: int) -> Step:
        # labels that somebody gave are one table, whatever the seed
        drawn = [] if noise.kind in SEEDED else [seed]
        job = {**self._data(data), "noise": asdict(noise), "seed": seed if drawn else 0}
        # how tables call the noise decides nothing
        identity = [*self._content(data), {**asdict(noise), "name": None}, drawn]
        named = (data.name, noise.label, *(f"seed {s}" for s in drawn))
        return self._shared("material", named, identity, job)

    def _truth(self, data: Data) -> Step:
        # errors are planted into labels that are held to be true
        are_true = any(noise.kind not in SEEDED for noise in data.noise)
        job = {**self._data(data), "labels_are_true": are_true}
        identity = [*self._content(data), are_true]
        return self._shared("truth", (data.name, "true labels"), identity, job)

    def _shared(
        self, kind: str, named: Sequence[str], identity: Any, job: dict[str, Any]
    ) -> Step:
        # two noises that differ in name alone are one table
        folder = self._folder("data", named, identity)
        return self.materials.setdefault(folder.name, Step(kind, folder, job))

    def _headroom(self, tower: Tower, data: Data) -> Step:
        # noise is no part of it, as true labels are what it is measured on
        key = (tower.name, data.name)
        if key not in self.headrooms:
            model = _model(tower)
            names = {"tower": tower.name, "data": data.name}
            job = {"model": model, "names": names, **self._machine()}
            weights = self._stamp(TINY if model == "tiny" else Path(model))
            source = self._truth(data)
            # a hub id has no stamp: its name stands for it
            identity = [job, weights, source.folder.name]
            folder = self._folder("towers", key, identity)
            self.headrooms[key] = Step("headroom", folder, job, tower.name, (source,))
        return self.headrooms[key]

    def _data(self, data: Data) -> dict[str, Any]:
        # without its noises: adding one to the list must not run the others again
        described = asdict(replace(data, noise=()))
        # cells of earlier versions, which knew none, stay what they were
        for name in OWN:
            if described[name] is None:
                del described[name]
        root = self.workspace.data_root
        return {"data": described, "data_root": str(root)}

    def _content(self, data: Data) -> list[Any]:
        """What decides which pictures and labels there are; not where they lie."""
        # archives and embedded data are known by their names
        content = None
        root = self.workspace.data_root
        if data.path is not None:
            content = self._stamp(root / data.path)
        own = [self._stamp(root / file) for file in own_files(data).values()]
        return [self._data(data)["data"], content, *own]

    def _machine(self) -> dict[str, str]:
        return {
            "device": self.workspace.device,
            "precision": self.workspace.precision,
        }

    def _folder(self, below: str, named: Sequence[str], identity: Any) -> Path:
        name = slug(" ".join(named))[:LONGEST_NAME]
        return self.workspace.output / below / f"{name}-{fingerprint(identity)}"

    def _stamp(self, path: Path) -> str | None:
        # weights of a gigabyte are hashed once, not for each data set
        if path not in self._stamps:
            self._stamps[path] = stamp(path)
        return self._stamps[path]


def _model(tower: Tower) -> str:
    return tower.model or tower.name


def slug(text: str) -> str:
    """A name as a file may have it: small letters, digits, dots and dashes."""
    # a name in another script leaves nothing of itself
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "x"


def stamp(path: Path) -> str | None:
    """Sixteen hex digits of a file's content, or of a folder's; None where nothing is.

    Of a model's folder its files count, of any other names and sizes: reading a data set whole
    would take longer than many a scan.
    """
    if path.is_file():
        return sha256(path)[:16]
    if not path.is_dir():
        return None
    if (path / "config.json").exists():
        files = [p for p in path.iterdir() if p.suffix in (".json", ".safetensors")]
        return fingerprint([(p.name, stamp(p)) for p in sorted(files)])
    sizes = []
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        # with slashes on every system, so that a folder's stamp can travel
        sizes.append((inner.relative_to(path).as_posix(), inner.stat().st_size))
    return fingerprint(sizes)


def narrow(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells that all of `only` let pass.

    Args:
        only: "KEY=NAME,KEY=NAME…"; KEY is one of `AXES`, NAME may have * and ?. Of the same
            key any may hold, of different keys all must.

    Raises:
        OptionError: an unknown key, or a name that no cell has.
    """
    patterns: dict[str, list[str]] = {}
    for key, pattern in _pairs(only):
        known = dict.fromkeys(cell.names()[key] for cell in cells)
        # not `fnmatch`, which ignores case on Windows alone
        if not any(fnmatch.fnmatchcase(name, pattern) for name in known):
            raise OptionError(f"--only {key}={pattern}: {unknown(key, pattern, known)}")
        patterns.setdefault(key, []).append(pattern)
    return [cell for cell in cells if _passes(cell.names(), patterns)]


def _passes(names: Mapping[str, str], patterns: Mapping[str, Sequence[str]]) -> bool:
    for key, own in patterns.items():
        if not any(fnmatch.fnmatchcase(names[key], pattern) for pattern in own):
            return False
    return True


def _pairs(only: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in only:
        # names may have commas: one separates pairs only before a key
        for part in re.split(rf",(?=\s*(?:{'|'.join(AXES)})=)", text):
            key, equals, name = map(str.strip, part.partition("="))
            if not equals or not name:
                raise OptionError(
                    f"--only '{part}' is not KEY=NAME.",
                    "For example --only method=knn,data=digits.",
                )
            if key not in AXES:
                raise OptionError(f"--only '{part}': {unknown('Key', key, AXES)}")
            yield key, name
