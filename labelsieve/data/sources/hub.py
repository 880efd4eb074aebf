"""A Hugging Face data set: a `save_to_disk` folder, `hf://OWNER/NAME`, or a `datasets` object.

Image paths in a plain text column are relative to --root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve import registry
from labelsieve.data.sources import Row, check_one_value, label_text
from labelsieve.data.sources._columns import IMAGES, TEXT_NAMES, TEXTS
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources._texts import cell as text_cell
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.files import Bounds

HUB = "hf://"


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None:
        # by name: the library is slow to import, and may not be there
        return type(spec.data).__module__.startswith("datasets.")
    saved = any(
        (path / name).exists() for name in ("dataset_info.json", "dataset_dict.json")
    )
    return saved or str(spec.data).startswith(HUB)


def open_source(spec: DataSpec) -> HubSource:
    """Open it; raises DataError with what to do."""
    parts, folder = _parts(spec)
    # splits of one data set have the same columns
    features = next(iter(parts.values())).features
    modality, image = _item_column(spec, features)
    label = _label_column(spec, features)
    _check_columns(spec, image, label, features)
    columns = (image, label, spec.truth_column, spec.id_column)
    # other columns may be large, such as embeddings; each once, as `datasets` asks for
    wanted = list(dict.fromkeys(c for c in columns if c))
    raw = {}
    for name, part in parts.items():
        # without a format, as one of torch or numpy would turn cells into arrays
        raw[name] = _undecoded(part.with_format(None).select_columns(wanted), image)
        if folder is not None:
            _refuse_broken(raw[name], folder)
    return HubSource(raw, *columns, Path(spec.root or ""), folder, modality)


def _parts(spec: DataSpec) -> tuple[dict[str | None, Any], Path | None]:
    """The wanted splits by name, None for one without a name; and the folder they were saved to."""
    datasets = registry.need("datasets")

    data = spec.data
    folder = None
    if isinstance(data, str | Path) and str(data).startswith(HUB):
        data = _from_hub(str(data))
    elif isinstance(data, str | Path):
        folder = Path(data)
        data = from_disk(str(data))
    parts = dict(data) if isinstance(data, dict) else {None: data}
    if spec.split is not None:
        if spec.split not in parts:
            names = [str(name) for name in parts if name]
            raise DataError(unknown("Split", spec.split, names or ["(none)"]))
        parts = {spec.split: parts[spec.split]}
    whole = [isinstance(part, datasets.Dataset) for part in parts.values()]
    if not whole or not all(whole):
        raise DataError(
            "The data set is streamed or has no splits.",
            "Load it whole, without streaming=True.",
        )
    return parts, folder


def _item_column(spec: DataSpec, features: Any) -> tuple[str, str]:
    """The kind of the items and their column, named by the user or by its kind."""
    datasets = registry.need("datasets")

    if spec.image_column and spec.text_column:
        raise DataError("--image-column and --text-column exclude each other.")
    if spec.text_column is not None:
        return TEXTS, spec.text_column
    if spec.image_column is not None:
        return IMAGES, spec.image_column
    pictures = any(isinstance(f, datasets.Image) for f in features.values())
    usual = next((name for name in TEXT_NAMES if name in features), None)
    # a path column called "image" is one of pictures, whatever stands beside it
    if usual is not None and not pictures and "image" not in features:
        return TEXTS, usual
    return IMAGES, _only(features, datasets.Image, "--image-column", "image")


def _label_column(spec: DataSpec, features: Any) -> str | None:
    datasets = registry.need("datasets")
    if spec.label_column is not None or not spec.labelled:
        return spec.label_column
    return _only(features, datasets.ClassLabel, "--label-column", "label")


def _check_columns(
    spec: DataSpec, image: str, label: str | None, features: Any
) -> None:
    named = (
        ("--label-column", label),
        ("--truth-column", spec.truth_column),
        ("--id-column", spec.id_column),
    )
    item = "--text-column" if spec.text_column else "--image-column"
    for flag, name in ((item, image), *named):
        if name is not None and name not in features:
            raise DataError(f"{flag}: {unknown('Column', name, features)}")
    for flag, name in named:
        if name is not None:
            check_one_value(features.arrow_schema.field(name).type, flag, name)


def _from_hub(name: str) -> Any:
    datasets = registry.need("datasets")

    try:
        return datasets.load_dataset(name.removeprefix(HUB).removeprefix("datasets/"))
    # the library raises many kinds: no network, no such data set, gated, offline mode
    except Exception as error:
        raise DataError(
            f"'{name}' could not be fetched from the hub: {_first_line(error)}",
            "Check the name and the network, or save it to disk first.",
        ) from error


def from_disk(folder: str) -> Any:
    """What `save_to_disk` wrote. Raises DataError when it cannot be opened."""
    datasets = registry.need("datasets")

    try:
        return datasets.load_from_disk(folder)
    # a missing or cut file: OSError, ValueError, KeyError, ArrowInvalid
    except Exception as error:
        raise DataError(
            f"'{folder}' cannot be opened as a saved data set: {_first_line(error)}",
            "Save it again with save_to_disk.",
        ) from error


def _refuse_broken(part: Any, folder: Path) -> None:
    """Raise DataError where cells of a saved table lie outside of its own bytes.

    Arrow maps such files as they are: with damaged offsets it reads memory that is not theirs,
    which ends the process.
    """
    try:
        part.data.validate(full=True)
    except pa.ArrowException as error:
        raise DataError(
            f"'{folder}' is damaged: {_first_line(error)}",
            "Save it again with save_to_disk.",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _only(features: Any, kind: type, flag: str, usual: str) -> str:
    fitting = [name for name, f in features.items() if isinstance(f, kind)]
    if len(fitting) == 1:
        return fitting[0]
    if usual in features:
        return usual
    raise DataError(
        f"{flag} is needed: the data set has {len(fitting)} columns of kind "
        f"{kind.__name__}.",
        f"Name one of: {', '.join(features)}.",
    )


def _undecoded(part: Any, column: str) -> Any:
    """The same data set with images left as bytes or paths: decoding errors are ours to name."""
    kind = registry.need("datasets").Image
    if isinstance(part.features[column], kind):
        return part.cast_column(column, kind(decode=False))
    return part


@dataclass
class HubSource:
    """Rows of the splits of one data set, split by split."""

    parts: dict[str | None, Any]
    image_column: str
    label_column: str | None
    truth_column: str | None
    id_column: str | None
    root: Path
    folder: Path | None = None  # where it is saved, if it is
    modality: str = IMAGES
    notes: list[str] = field(default_factory=list)

    @property
    def bounds(self) -> Bounds | None:
        """Where pictures lie that are part of a saved data set; None for one of the hub."""
        if self.folder is None:
            return None
        # without --root, paths are from the working folder, which nobody named
        named = [] if self.root == Path() else [self.root]
        return Bounds(self.folder, *named)

    @property
    def classes(self) -> list[str]:
        """As the label feature declares them, in its order."""
        names: dict[str, None] = {}
        for part in self.parts.values():
            feature = part.features.get(self.label_column)
            # splits repeat each other's classes
            names |= dict.fromkeys(getattr(feature, "names", None) or ())
        return list(names)

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the splits."""
        keys = RowKeys(self.id_column)
        for split, part in self.parts.items():
            if split:
                keys.begin(split)
            for number, record in enumerate(part):
                yield self._row(split, number, record, part.features, keys)

    def read(self, uri: str) -> Any:
        """The image of one row again."""
        # names of splits may have colons, numbers of rows have none
        split, _, number = uri.rpartition(":")
        return self._image(self.parts[split or None][int(number)][self.image_column])

    def _row(
        self,
        split: str | None,
        number: int,
        record: dict[str, Any],
        features: Any,
        keys: RowKeys,
    ) -> Row:
        cell = record[self.image_column]
        path = None if self.modality == TEXTS else _path_of(cell)
        name = f"{split} row {number}" if split else f"row {number}"
        own = _cell(record, self.id_column, features)
        image = self._image(cell)
        # a picture has neither a path nor bytes of its own: what it shows tells it apart
        known_by = image if isinstance(image, bytes) else path or repr(cell).encode()
        return Row(
            key=keys.take(own, known_by),
            uri=f"{split or ''}:{number}",
            # people look for their own id, where their rows have one
            path=path or own or name,
            label=_cell(record, self.label_column, features),
            truth=_cell(record, self.truth_column, features),
            split=split,
            image=image,
        )

    def _image(self, value: Any) -> Any:
        if self.modality == TEXTS:
            return text_cell(value)
        if isinstance(value, dict):
            # empty bytes are a damaged picture, and no reason to look for a file
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, str):
            return self.root / value
        return b"" if value is None else value


def _path_of(cell: Any) -> str | None:
    """The path of an image cell, None where it has none."""
    if isinstance(cell, dict):
        path: str | None = cell.get("path")
        return path
    return cell if isinstance(cell, str) else None


def _cell(record: dict[str, Any], column: str | None, features: Any) -> str | None:
    if column is None:
        return None
    return label_text(record[column], getattr(features[column], "names", None))
