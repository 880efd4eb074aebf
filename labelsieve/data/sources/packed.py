"""A zip or tar file (also .tar.gz) of class folders, read without unpacking it.

`photos.zip` with `photos/cat/1.jpg` is read as the folder would be: a folder that holds all
others is left out, and where all folders have names of splits they are the splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelsieve.data.sources import Row, refuse_options
from labelsieve.data.sources._beside import scan_command
from labelsieve.data.sources._formats import format_of
from labelsieve.data.sources._layout import SPLITS, is_image
from labelsieve.data.sources._stores import Store, leads_out, open_store
from labelsieve.data.sources._tar import TarMember, is_packed, is_tar, members
from labelsieve.data.sources.webdataset import is_webdataset
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.files import path_to_uri, readable, uri_to_path
from labelsieve.progress import counted, plain

NO_COLUMNS = (
    *("image_column", "label_column", "truth_column", "id_column", "root"),
    *("vote_columns", "count_columns", "label_separator"),
)


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or not path.is_file():
        return False
    return path.suffix.lower() == ".zip" or (is_tar(path) and not is_webdataset(path))


def open_source(spec: DataSpec) -> PackedSource:
    """Open it; raises DataError with what to do."""
    refuse_options(spec, NO_COLUMNS, "folders give its images their labels")
    path = Path(spec.data)
    # what is compressed as a whole has no members that could be found again
    store = None if is_tar(path) and is_packed(path) else open_store(path)
    return PackedSource(path, store, spec.split, spec.labelled)


@dataclass
class PackedSource:
    """Pictures in class folders of one file.

    Attributes:
        store: None for what is compressed as a whole, which is read from its start on.
    """

    path: Path
    store: Store | None
    split: str | None = None
    labelled: bool = True
    notes: list[str] = field(default_factory=list)
    called: str = ""  # in messages, where it is no file
    not_writable: str = (
        "a packed file is not taken apart; unpack it and scan the folder"
    )

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the file."""
        self.notes.clear()
        # twice over the names: which folders are splits shows at the end
        names = list(self._pictures())
        above = _above(names)
        splits = self._splits(names, above)
        found = self._named(names) if self.store else self._streamed(set(names))
        for name, image in found:
            parts = name[len(above) :].split("/")
            # what is left begins with the class
            split = parts.pop(0) if splits else None
            if self.split in (None, split):
                # a picture beside the class folders has no label
                label = parts[0] if self.labelled and len(parts) > 1 else None
                uri = path_to_uri(name)
                shown = readable(name)
                yield Row(
                    uri, uri, shown, plain(label) if label else None, None, split, image
                )

    def _named(self, names: list[str]) -> Iterator[tuple[str, Any]]:
        for name in names:
            yield name, self.store.member(name) if self.store else None

    def _streamed(self, names: set[str]) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of pictures, each once."""
        for member in members(self.path, []):
            if not isinstance(member, TarMember) and member[0] in names:
                # a second one of the name is left out, as when it was counted
                names.remove(member[0])
                yield member

    def _pictures(self) -> Iterator[str]:
        """Names of pictures; what is left out is noted."""
        others, outside, tables = 0, [], []
        for name in self._all_names():
            folders = name.split("/")[:-1]
            # first of all: also what is hidden may lead out
            if leads_out(name):
                outside.append(name)
            elif any(part.startswith((".", "__MACOSX")) for part in folders):
                continue
            elif is_image(name):
                yield name
            else:
                others += 1
                tables += [name] * (format_of(Path(name)) is not None)
        self._note(outside, tables, others)

    def _note(self, outside: list[str], tables: list[str], others: int) -> None:
        own = self.called or readable(self.path.name)
        if outside:
            first = plain(outside[0])
            self.notes.append(
                f"{len(outside)} members of '{own}' lead out of it, such as '{first}', "
                "and were left out"
            )
        if tables:
            self.notes.append(
                f"'{plain(tables[0])}' in '{own}' was not read; if it holds the labels, "
                f"unpack it and scan it with --root {own}"
            )
        # a README is of interest only where there is no table
        elif others:
            self.notes.append(
                counted(
                    others,
                    "file",
                    f"in '{own}' is no image",
                    f"in '{own}' are no images",
                )
                + " by the suffix"
            )
        for name in getattr(self.store, "repeated", list)():
            self.notes.append(f"'{plain(name)}' is in '{own}' twice; the last was read")

    def _all_names(self) -> Iterator[str]:
        if self.store is not None:
            self.notes += getattr(self.store, "notes", [])
            yield from self.store.names()
            return
        seen: dict[str, None] = {}
        for member in members(self.path, self.notes):
            if not isinstance(member, TarMember):
                # the first of several: the stream does not go back
                seen[member[0]] = None
        yield from seen

    def _splits(self, names: list[str], above: str) -> bool:
        """Whether the first folders are splits; raises DataError where none is the wanted one."""
        inner = [name[len(above) :].split("/") for name in names]
        # pictures in a folder at least
        deep = [parts for parts in inner if len(parts) > 1]
        if self.labelled and not names:
            raise DataError(
                f"'{self.called or self.path}' holds no pictures.",
                "Packed files in it are not read: unpack it, and name one of them.",
            )
        if self.labelled and not deep:
            raise DataError(
                f"'{self.called or self.path}' has no class folders.",
                "If a table has the labels: "
                + scan_command("labels.csv", f" --root {self.path}"),
            )
        tops = {parts[0] for parts in deep}
        # train/cat/1.jpg, and not a class that is called "train"
        nested = any(len(parts) > 2 for parts in deep)
        splits = nested and all(name.lower() in SPLITS for name in tops)
        if self.split is not None and (not splits or self.split not in tops):
            raise DataError(
                unknown("Split", self.split, tops if splits else ["(none)"])
            )
        return splits

    def picture(self, uri: str) -> Any:
        """The image of one row as `rows` gave it, to be read when it is wanted."""
        return self.store.member(uri_to_path(uri)) if self.store else self.read(uri)

    def read(self, uri: str) -> bytes:
        """The image of one row again."""
        name = uri_to_path(uri)
        if self.store is not None:
            data: bytes = self.store.member(name).read_bytes()
            return data
        # from the start: slow, and the only way into a compressed stream
        for member in members(self.path, []):
            if not isinstance(member, TarMember) and member[0] == name:
                return member[1]
        raise DataError(f"'{readable(self.path)}' has no '{plain(name)}'.")


def _above(names: list[str]) -> str:
    """Folders that hold all class folders, such as "photos/"."""
    above: list[str] = []
    parts = [name.split("/") for name in names]
    # a class folder and a file have to be left
    while parts and all(len(p) > 2 + len(above) for p in parts):
        first = parts[0][len(above)]
        if any(p[len(above)] != first for p in parts) or first.lower() in SPLITS:
            break
        above.append(first)
    return "".join(f"{part}/" for part in above)
