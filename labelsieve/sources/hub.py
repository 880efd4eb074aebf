"""A Hugging Face data set: a `save_to_disk` folder, `hf://OWNER/NAME` from the hub, or a `datasets.Dataset` object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelsieve import registry
from labelsieve.errors import DataError, unknown
from labelsieve.sources import DataSpec, Row


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None:
        return type(spec.data).__module__.startswith("datasets.")
    saved = any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json"))
    return saved or str(spec.data).startswith("hf://")


def open_source(spec: DataSpec) -> HubSource:
    """Open it; raises DataError with what to do."""
    datasets = registry.need("datasets")

    data = spec.data
    if isinstance(data, str | Path):
        data = _from_hub(str(data)) if str(data).startswith("hf://") else datasets.load_from_disk(str(data))
    parts = dict(data) if isinstance(data, datasets.DatasetDict) else {None: data}
    if spec.split is not None:
        if spec.split not in parts:
            raise DataError(unknown("Split", spec.split, [str(p) for p in parts if p]))
        parts = {spec.split: parts[spec.split]}
    features = next(iter(parts.values())).features
    image = spec.image_column or _only(features, datasets.Image, "--image-column", "image")
    label = spec.label_column or _only(features, datasets.ClassLabel, "--label-column", "label")
    for flag, name in (
        ("--image-column", image),
        ("--label-column", label),
        ("--truth-column", spec.truth_column),
        ("--id-column", spec.id_column),
    ):
        if name is not None and name not in features:
            raise DataError(f"{flag}: {unknown('Column', name, features)}")
    raw = {name: _undecoded(part, image, datasets.Image) for name, part in parts.items()}
    return HubSource(raw, image, label, spec.truth_column, spec.id_column)


def _from_hub(name: str) -> Any:
    datasets = registry.need("datasets")

    try:
        return datasets.load_dataset(name.removeprefix("hf://"))
    except Exception as error:  # the library raises many kinds: no network, no such data set, gated, offline mode
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"'{name}' could not be fetched from the hub: {reason}",
            "Check the name and the network, or save it to disk first.",
        ) from error


def _only(features: Any, kind: type, flag: str, usual: str) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) == 1:
        return found[0]
    if usual in features:
        return usual
    raise DataError(
        f"{flag} is needed: the data set has {len(found)} columns of kind {kind.__name__}.",
        f"Name one of: {', '.join(features)}.",
    )


def _undecoded(part: Any, column: str, image_kind: type) -> Any:
    """The same data set with images left as bytes or paths: decoding errors are ours to name."""
    return part.cast_column(column, image_kind(decode=False)) if isinstance(part.features[column], image_kind) else part


@dataclass
class HubSource:
    """Rows of the splits of one data set, split by split."""

    parts: dict[str | None, Any]
    image_column: str
    label_column: str
    truth_column: str | None
    id_column: str | None
    notes: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        for split, part in self.parts.items():
            for number, record in enumerate(part):
                yield self._row(split, number, record, part.features)

    def read(self, uri: str) -> Any:
        split, _, number = uri.rpartition(":")
        return _image(self.parts[split or None][int(number)][self.image_column])

    def _row(self, split: str | None, number: int, record: dict[str, Any], features: Any) -> Row:
        uri = f"{split or ''}:{number}"
        path = record[self.image_column].get("path") if isinstance(record[self.image_column], dict) else None
        shown = path or (f"{split} row {number}" if split else f"row {number}")
        key = _cell(record, self.id_column, features) or uri.lstrip(":")
        return Row(
            key=key,
            uri=uri,
            path=shown,
            label=_cell(record, self.label_column, features),
            truth=_cell(record, self.truth_column, features),
            split=split,
            image=_image(record[self.image_column]),
        )


def _cell(record: dict[str, Any], column: str | None, features: Any) -> str | None:
    return None if column is None else _text(record[column], features[column])


def _image(value: Any) -> Any:
    if isinstance(value, dict):
        return value["bytes"] if value.get("bytes") is not None else (Path(value["path"]) if value.get("path") else b"")
    return b"" if value is None else value


def _text(value: Any, feature: Any) -> str | None:
    names = getattr(feature, "names", None)
    if names and isinstance(value, int):
        return str(names[value]) if 0 <= value < len(names) else None
    return None if value is None or value == "" else str(value)
