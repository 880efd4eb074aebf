"""From a plan to steps: each has a folder named after what decides its result, and leaves `result.json` there.

    OUT/data/…      material: a table of images with given and true labels, or where such a table is; truth: without given ones
    OUT/towers/…    headroom: features of a tower for a data set, and how good they are on true labels
    OUT/cells/…     a cell: the run folder of an ordinary scan, and its figures

The name ends in a fingerprint of configuration, data and weights, so a step whose inputs changed is another step.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelsieve import registry
from labelsieve.bench.plan import Cell, Data, Noise, Tower
from labelsieve.errors import RunError
from labelsieve.files import fingerprint, read_json, write_json
from labelsieve.models.hugging_face import TINY

SEEDED = ("recorded",)  # noise that no seed decides


@dataclass(frozen=True)
class Place:
    """Where the bench works, and on what."""

    output: Path
    data_root: Path
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, eq=False)
class Step:
    """One piece of work for one process.

    needs: steps whose results it reads. cell: what it is a cell of, None for the others.
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
            return read_json(self.folder / "result.json")
        except RunError:
            return None

    def done(self) -> bool:
        """Whether it need not run again; what failed is tried again."""
        found = self.result()
        if found is None or found.get("state") != "done":
            return False
        return (
            "features" not in found or Path(found["features"]).exists()
        )  # the cache may have been cleared

    def prepare(self) -> None:
        """Write down what the process is to do."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "result.json").unlink(missing_ok=True)
        needs = [str(n.folder) for n in self.needs]
        write_json(
            self.folder / "job.json", {"kind": self.kind, "needs": needs, **self.job}
        )


def of(cells: Sequence[Cell], place: Place) -> list[Step]:
    """Steps of some cells: what they need comes before them, and cells that train a tower before the others."""
    maker = _Maker(place)
    made = [maker.cell(cell) for cell in cells]
    slow = [
        s
        for s in made
        if s.cell is not None
        and "pixels"
        in registry.constants("methods", s.cell.method.detector, ("NEEDS",))["needs"]
    ]
    return [
        *maker.materials.values(),
        *maker.headrooms.values(),
        *slow,
        *(s for s in made if s not in slow),
    ]


class _Maker:
    """Steps that several cells share are made once."""

    def __init__(self, place: Place) -> None:
        self.place = place
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
        named = (
            cell.tower.name,
            cell.data.name,
            cell.noise.label,
            cell.method.name,
            f"seed {cell.seed}",
        )
        identity = [scan, material.folder.name, headroom.folder.name]
        return Step(
            "cell",
            self._folder("cells", named, identity),
            {"scan": scan, "names": cell.names()},
            cell.tower.name,
            (material, headroom),
            cell,
        )

    def _material(self, data: Data, noise: Noise, seed: int) -> Step:
        drawn = [] if noise.kind in SEEDED else [seed]
        job = {**self._data(data), "noise": asdict(noise), "seed": seed if drawn else 0}
        identity = [*self._content(data), {**asdict(noise), "name": None}, drawn]
        return self._shared(
            "material",
            (data.name, noise.label, *(f"seed {s}" for s in drawn)),
            identity,
            job,
        )

    def _truth(self, data: Data) -> Step:
        job = {
            **self._data(data),
            "labels_are_true": any(n.kind not in SEEDED for n in data.noise),
        }
        return self._shared(
            "truth",
            (data.name, "true labels"),
            [*self._content(data), job["labels_are_true"]],
            job,
        )

    def _shared(
        self, kind: str, named: Sequence[str], identity: Any, job: dict[str, Any]
    ) -> Step:
        folder = self._folder("data", named, identity)
        return self.materials.setdefault(folder.name, Step(kind, folder, job))

    def _headroom(self, tower: Tower, data: Data) -> Step:
        key = (tower.name, data.name)
        if key not in self.headrooms:
            where = TINY if _model(tower) == "tiny" else Path(_model(tower))
            job = {
                "model": _model(tower),
                "names": {"tower": tower.name, "data": data.name},
                **self._machine(),
            }
            source = self._truth(data)
            folder = self._folder(
                "towers", key, [job, self._stamp(where), source.folder.name]
            )
            self.headrooms[key] = Step("headroom", folder, job, tower.name, (source,))
        return self.headrooms[key]

    def _data(self, data: Data) -> dict[str, Any]:
        return {
            "data": asdict(replace(data, noise=())),
            "data_root": str(self.place.data_root),
        }

    def _content(self, data: Data) -> list[Any]:
        """What decides which pictures and labels there are; not where they lie."""
        return [
            self._data(data)["data"],
            None
            if data.path is None
            else self._stamp(self.place.data_root / data.path),
        ]

    def _machine(self) -> dict[str, str]:
        return {"device": self.place.device, "precision": self.place.precision}

    def _folder(self, below: str, named: Sequence[str], identity: Any) -> Path:
        return (
            self.place.output
            / below
            / f"{slug(' '.join(named))[:120]}-{fingerprint(identity)}"
        )

    def _stamp(self, path: Path) -> str | None:
        if path not in self._stamps:
            self._stamps[path] = stamp(path)
        return self._stamps[path]


def _model(tower: Tower) -> str:
    return tower.model or tower.name


def slug(text: str) -> str:
    """A name as a file may have it: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "x"


def stamp(path: Path) -> str | None:
    """Sixteen hex digits of a file's content, or of a folder's: of a model's files, else names and sizes; None where nothing is."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if not path.is_dir():
        return None
    if (path / "config.json").exists():
        files = sorted(
            p for p in path.iterdir() if p.suffix in (".json", ".safetensors")
        )
        return fingerprint([(p.name, stamp(p)) for p in files])
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return fingerprint(
        [(p.relative_to(path).as_posix(), p.stat().st_size) for p in files]
    )
