"""WebDataset: tar files in which the files of one sample have the same name before the first dot.

`0001.jpg` and `0001.cls` are a sample with the key "0001". The label is what `.cls`, `.json` or
`.txt` says; --label-column names another extension, or a key of the JSON. Shards are given as a
folder, a pattern ('shards/*.tar') or a range ('shards/{000..012}.tar').
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from labelsieve.data.sources import Row, label_text, refuse_options
from labelsieve.data.sources._columns import LABEL_NAMES
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources._layout import (
    fixed_part,
    is_image,
    look,
    matching,
    names_of,
    split_of,
)
from labelsieve.data.sources._stores import Missing
from labelsieve.data.sources._tar import TarMember, is_packed, is_tar, members
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import path_to_uri, readable, uri_to_path
from labelsieve.progress import plain

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST_SHARDS = 100_000  # of a range
LOOKED_AT = 16  # members by which a tar file is told from one of class folders
LARGEST_LABEL = 1 << 20  # bytes of a .cls, .json or .txt
AGAIN = "%@"  # before how often a name was met; names in uris have no such sign
LABELS = ("cls", "json", "txt")
# Files beside the shards that name the classes which numbers count, a name per line.
CLASS_FILES = ("classnames.txt", "classes.txt", "dataset-classes.txt")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or "://" in str(spec.data):
        return False
    if path.is_dir():
        seen = look(path)
        # one is enough: shards are alike
        tars = seen.ending(".tar")
        return bool(tars) and not seen.pictures and is_webdataset(path / tars[0])
    if path.is_file():
        return is_tar(path) and is_webdataset(path)
    # a pattern of tar files is nothing else, also where it fits none
    return all(is_tar(Path(n)) for n in names_of(path)) and _shards(path) is not None


def is_webdataset(path: Path) -> bool:
    """Whether pictures and labels of the same name stand beside each other."""
    kinds: dict[str, set[str]] = {}
    try:
        for member, _ in zip(members(path, []), range(LOOKED_AT), strict=False):
            key, kind = parted(_name(member))
            kinds.setdefault(key, set()).add(kind.rpartition(".")[2])
    except DataError:
        return False  # it is named when it is read
    for found in kinds.values():
        pictures = any(is_image(f"x.{kind}") for kind in found)
        if pictures and not found.isdisjoint(LABELS):
            return True
    return False


def _shards(path: Path) -> list[Path] | None:
    """The files of a range or pattern; None where it is neither."""
    found = RANGE.search(str(path))
    if found:
        first, last = int(found[1]), int(found[2])
        if not 0 <= last - first < MOST_SHARDS:
            raise DataError(f"'{path}' names no range of shards.", "Write {000..012}.")
        # {000..012}: as many digits as the first has
        digits = len(found[1])
        before, after = str(path)[: found.start()], str(path)[found.end() :]
        return [Path(f"{before}{n:0{digits}}{after}") for n in range(first, last + 1)]
    if len(names_of(path)) > 1 or glob.has_magic(str(path)):
        return [Path(name) for name in matching(path)]
    return None


def open_source(spec: DataSpec) -> WebDataset:
    """Open it; raises DataError with what to do."""
    refuse_options(
        spec,
        ("image_column", "id_column", "root", "vote_columns", "count_columns"),
        "samples of WebDataset have keys, and files that say what they are",
    )
    path = Path(spec.data)
    if path.is_dir():
        top, shards = path, sorted(p for p in path.rglob("*") if is_tar(p))
    elif path.is_file():
        top, shards = path.parent, [path]
    else:
        top, shards = fixed_part(path), _shards(path) or []
    if not shards:
        raise DataError(f"'{path}' fits no file.", "Check the pattern.")
    for shard in shards:
        if not shard.is_file():
            raise DataError(f"'{readable(shard)}' does not exist.", "Check the range.")
    if spec.split is not None:
        shards = [s for s in shards if split_of(s.name) == spec.split]
        if not shards:
            raise DataError(
                f"--split '{spec.split}' is in the name of no shard of '{path}'."
            )
    label, truth = spec.label_column, spec.truth_column
    return WebDataset(top, shards, label, spec.labelled, truth)


@dataclass
class Sample:
    """The files of one key, by extension."""

    key: str
    files: dict[str, Any] = field(default_factory=dict)  # a TarMember, or bytes


@dataclass
class WebDataset:
    """Samples of shard after shard."""

    top: Path  # the folder that shards are below
    shards: list[Path]
    label: str | None = None  # an extension, or a key of the JSON
    labelled: bool = True
    truth: str | None = None  # likewise, of the true label
    notes: list[str] = field(default_factory=list)
    # file -> what is read in its place: as it was before it was corrected
    instead: dict[Path, Path] = field(default_factory=dict)
    _places: tuple[Path | None, dict[str, list[Any]]] = (None, {})

    @property
    def classes(self) -> list[str]:
        """The names that a file beside the shards gives to numbers."""
        for name in CLASS_FILES:
            path = self.top / name
            if path.is_file() and path.stat().st_size <= LARGEST_LABEL:
                return path.read_text(encoding="utf-8", errors="replace").splitlines()
        return []

    def name(self, shard: Path) -> str:
        """The path of a shard below the top, with slashes."""
        return shard.relative_to(self.top).as_posix()

    def file(self, shard: Path) -> Path:
        """What is read of a shard."""
        return self.instead.get(shard, shard)

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the shards and of their samples."""
        self.notes.clear()
        classes, keys = self.classes, RowKeys(None)
        for shard in self.shards:
            split = split_of(shard.name)
            # a key may come twice, apart: its second picture is another one
            met: dict[str, int] = {}
            for sample in samples(self.file(shard), self.notes):
                name, image = _picture(sample)
                own = self.name(shard)
                met[name] = met.get(name, 0) + 1
                uri = _uri(own, name, met[name])
                yield Row(
                    key=keys.take(None, path_to_uri(sample.key)),
                    uri=uri,
                    path=f"{readable(own)}: {readable(name)}",
                    label=self._label(sample, self.label, classes),
                    truth=self.truth and self._label(sample, self.truth, classes),
                    split=split,
                    image=image,
                )

    def _label(
        self, sample: Sample, wanted: str | None, classes: list[str]
    ) -> str | None:
        """What `wanted` says, an extension or a key of the JSON; None: what usually says it."""
        files = sample.files
        if not self.labelled:
            return None
        # a file of its own outweighs what the JSON says
        kind = wanted or "cls"
        if kind in files:
            return _text(files[kind], classes)
        if "json" in files:
            names = (wanted,) if wanted else LABEL_NAMES
            found = _of_json(files["json"], names, classes)
            if found is not None or wanted:
                return found
        return _text(files["txt"], []) if "txt" in files and not wanted else None

    def read(self, uri: str) -> bytes:
        """The image of one row again."""
        own, _, name = uri.partition("!")
        name, _, times = name.partition(AGAIN)
        # of a stranger's run it may be anything
        nth = int(times) if times.isdecimal() and len(times) < 10 else 1
        own, name = uri_to_path(own), uri_to_path(name)
        for shard in self.shards:
            if self.name(shard) == own:
                found = self._find(self.file(shard), name, nth)
                if found is not None:
                    return found
        raise DataError(
            f"'{plain(own)}' has no '{plain(name)}'.",
            "Were the shards changed after the scan?",
        )

    def _find(self, shard: Path, name: str, times: int) -> bytes | None:
        """A member of a shard, the n-th of its name; where those of the last shard lie is kept."""
        if is_packed(shard):
            same = (m for m in members(shard, []) if _name(m) == name)
            found = next(islice(same, times - 1, times), None) if times else None
            return None if found is None else _read(found)
        kept, places = self._places
        if kept != shard:
            places = {}
            for member in members(shard, []):
                places.setdefault(_name(member), []).append(member)
            self._places = (shard, places)
        alike = places.get(name, [])[times - 1 : times]
        return _read(alike[0]) if alike else None


def samples(shard: Path, notes: list[str]) -> Iterator[Sample]:
    """Samples of a tar file, whose files follow each other.

    Raises:
        DataError: a key has the same extension twice, or the file is damaged.
    """
    sample: Sample | None = None
    for member in members(shard, notes):
        key, kind = parted(_name(member))
        # what macOS packs beside, and names without an extension
        if not kind or key.rpartition("/")[2].startswith("."):
            continue
        # the next key: the sample before it is whole
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key)
        if kind in sample.files:
            raise DataError(
                f"'{readable(shard)}' has '{plain(key)}.{plain(kind)}' twice.",
                "Two samples have the same key: write the shard again.",
            )
        sample.files[kind] = member
    if sample is not None:
        yield sample


def _of_json(member: Any, names: Sequence[str], classes: list[str]) -> str | None:
    try:
        content = json.loads(_read(member))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    for name in names:
        # the first that is there says it, also that there is none
        if name in content:
            value = content[name]
            known = isinstance(value, str | int | float)
            return label_text(value, classes) if known else None
    return None


def parted(name: str) -> tuple[str, str]:
    """Key and extension of a member, as WebDataset parts them: at the first dot of its name."""
    folder, slash, own = name.rpartition("/")
    stem, _, kind = own.partition(".")
    return folder + slash + stem, kind.lower()


def _name(member: TarMember | tuple[str, bytes]) -> str:
    return member.name if isinstance(member, TarMember) else member[0]


def _read(member: TarMember | tuple[str, bytes]) -> bytes:
    return member.read_bytes() if isinstance(member, TarMember) else member[1]


def _uri(shard: str, name: str, times: int) -> str:
    # the first exclamation mark parts both
    uri = path_to_uri(shard).replace("!", "%21") + "!" + path_to_uri(name)
    return uri if times == 1 else f"{uri}{AGAIN}{times}"


def _picture(sample: Sample) -> tuple[str, Any]:
    """Name and image of a sample; one without a picture fails when it is read."""
    for kind, member in sample.files.items():
        # "input.jpg" is a picture, too
        if is_image(f"x.{kind.rpartition('.')[2]}"):
            lazy = isinstance(member, TarMember)
            return _name(member), member if lazy else member[1]
    return sample.key, Missing("the sample has no picture")


def _text(member: Any, classes: list[str]) -> str | None:
    size = member.size if isinstance(member, TarMember) else len(member[1])
    if size > LARGEST_LABEL:
        return None
    text = _read(member).decode("utf-8", "backslashreplace").strip()
    # a number counts classes only where these have names
    number = text.isascii() and text.isdigit() and len(text) < 10
    return label_text(int(text) if number and classes else text, classes)
