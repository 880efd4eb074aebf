"""What run.json holds, field by field: runs come from strangers, too, and from old versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labelsieve.errors import RunError

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _number(value: Any) -> bool:
    # true and false are numbers to Python alone
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _mapping_or_none(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _text_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _number_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


# a parent comes before its fields; what is not listed is looked at where it is used
FIELDS: Mapping[str, Check] = {
    "state": _text,
    "identity": _text,
    "command": _mapping,
    "command.data": _text,
    "command.model": _text,
    "command.method": _text,
    "command.class_names": _text_by_name,
    "command.image_column": _text_or_none,
    "command.label_column": _text_or_none,
    "command.truth_column": _text_or_none,
    "command.id_column": _text_or_none,
    "command.label_separator": _text_or_none,
    "command.vote_columns": _text_or_none,
    "command.count_columns": _text_or_none,
    "command.items": _text_or_none,
    "command.urls": _text_or_none,
    "command.root": _text_or_none,
    "command.split": _text_or_none,
    "command.template": _text,
    "command.settings": _mapping,
    "environment": _text_by_name,
    "working_folder": _text,
    "device": _text,
    "precision": _text,
    "preprocess": _mapping,
    "data_fingerprint": _text,
    "classes": _texts,
    "method_facts": _mapping,
    "images": _number,
    "scored": _number,
    "flagged": _number,
    "noise_rate": _number_by_name,
    "noise_per_class": _number_by_name,
    "confused_pairs": _list,
    "warnings": _texts,
    "agreement": _mapping,
    "quality": _mapping_or_none,
    "findings": _mapping,
    "files": _text_by_name,
    "seconds": _number_by_name,
}
# what every version wrote into a finished run
ALWAYS = (
    "command",
    "command.data",
    "command.model",
    "command.method",
    "identity",
    "data_fingerprint",
    "images",
    "scored",
)


def check_shape(path: Path, record: Mapping[str, Any], *, whole: bool) -> None:
    """Raise RunError where a field of a run's record is not of the kind that a scan writes.

    Args:
        path: of the record, for the message.
        whole: the run is finished, so nothing may be missing that every version wrote.
    """
    for name, is_right in FIELDS.items():
        holder, key = _holder(record, name)
        lacking = whole and name in ALWAYS and key not in holder
        if lacking or (key in holder and not is_right(holder[key])):
            raise RunError(
                f"'{path}' is damaged: '{name}' is missing or not what a scan writes.",
                "Restore it from a copy, or run the command again with --force.",
            )


def _holder(record: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], str]:
    """The object that a field belongs to, and its name there."""
    parent, _, key = name.rpartition(".")
    return (record.get(parent, {}) if parent else record), key
