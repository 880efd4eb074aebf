"""Naming a data set once, and files of class names."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from labelsieve.data.sources import archive
from labelsieve.data.sources._layout import (
    has_pattern,
    look,
    matching,
    tables_in,
    together,
)
from labelsieve.data.sources._values import read_values
from labelsieve.data.sources.metadata import NAMES as METADATA
from labelsieve.data.spec import DataSpec
from labelsieve.data.spec import given as own_numbers
from labelsieve.errors import DataError, OptionError, unknown
from labelsieve.files import readable

WORDNET = re.compile(r"^(n\d{8}) (?=\w)", re.MULTILINE)


class Options(TypedDict, total=False):
    """What `load` takes beside the data; None is as if it were not given.

    A TypedDict, so that editors complete the names and type checkers know them, while a
    misspelt one still gets our own message.
    """

    image_column: str | None
    text_column: str | None
    side_text_column: str | None
    label_column: str | None
    truth_column: str | None
    id_column: str | None
    label_separator: str | None
    vote_columns: str | None
    count_columns: str | None
    items: str | None
    urls: str | None
    root: str | None
    split: str | None
    class_names: Mapping[str, str] | str | Path | None
    template: str | None
    labelled: bool
    embeddings: Any
    pred_probs: Any
    rows_match: bool


def load(data: Any, **options: Unpack[Options]) -> DataSpec:
    """Name a data set once, to hand it to `scan` and others.

    Args:
        data: a folder with one sub-folder per class, a CSV, TSV, JSONL or Parquet file, a
            `save_to_disk` folder, "hf://OWNER/NAME", "archive:NAME:FOLDER" (a benchmark's
            official archive), a list of paths of tables or annotation files, a
            `datasets.Dataset`, a torch Dataset of (image, label), a tuple (images, labels), a
            pandas or polars data frame, an Arrow table or a dict of
            columns, or what an earlier call gave.
        options: `Options`, explained in `labelsieve.data.spec.DataSpec`; `class_names` may
            also be the path of a file (`read_class_names`).

    Raises:
        OptionError: an unknown option, or a template that is none.
        DataError: the class-name file cannot be read.
    """
    given = _given(options)
    # a mapping of names stays as it is, in Python nobody needs a file for it
    if isinstance(given.get("class_names"), str | Path):
        given["class_names"] = read_class_names(Path(given["class_names"]))
    if "template" in given:
        _check_template(given["template"])
    for name in ("embeddings", "pred_probs"):
        if name in given:
            match = bool(given.get("rows_match"))
            value = given[name]
            if isinstance(value, str | Path):
                value = read_values(Path(value), f"--{name.replace('_', '-')}")
            given[name] = own_numbers(value, name, rows_match=match)
    if isinstance(data, DataSpec):
        return replace(data, **given)
    if isinstance(data, list) and data and all(isinstance(d, str | Path) for d in data):
        data = data[0] if len(data) == 1 else together(data)
    if isinstance(data, str) and data.startswith(archive.PREFIX):
        # an archive knows its label sets and the names of its classes
        return replace(archive.named(data, given.get("split")), **given)
    return DataSpec(data, **given)


def joined(data: Any, labels: Any, texts: Any) -> Any:
    """The data of a scan, which may come in parts; raises OptionError where one is missing."""
    if (data is None) == (texts is None):
        raise OptionError("Give data, or texts=[...] with labels=[...].")
    if texts is not None and labels is None:
        raise OptionError("texts need labels=[...], one for each.")
    if texts is not None:
        return {"text": list(texts), "label": list(labels)}
    return data if labels is None else (data, labels)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were set to something."""
    allowed = [f.name for f in fields(DataSpec) if f.name != "data"]
    for name in options:
        if name not in allowed:
            raise OptionError(unknown("Option", name, allowed))
    return {name: value for name, value in options.items() if value is not None}


def _check_template(template: str) -> None:
    """Raises OptionError unless the template has one {} and no other braces."""
    if "{}" not in template:
        raise OptionError(
            f"--template '{template}' has no {{}} for the class name.",
            "For example --template 'a photo of a {}.'",
        )
    # found here, it is one line; found in the middle of a scan, a traceback
    try:
        template.format("")
    except (LookupError, ValueError) as error:
        raise OptionError(
            f"--template '{template}' has other braces than one {{}}.",
            "Write each other brace twice.",
        ) from error


def read_class_names(path: Path) -> dict[str, str]:
    """Label -> name in prompts, from JSON or from lines.

    JSON is an object, {"n01440764": "tench"}. Lines are label,name, or label and name with a
    tab between; a name may have commas of its own without quotes. A space is enough behind the
    id of WordNet.

    Raises:
        DataError: not there, or neither of these.
    """
    # a pipe that nobody writes to would be waited for without end
    if path.exists() and not path.is_file():
        raise DataError(
            f"--class-names '{path}' is not a file.",
            'Write JSON {"label": "name"} or lines label,name into one.',
        )
    try:
        # utf-8-sig: Excel puts a mark before the first label
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return _names_of_json(text)
        return _names_of_lines(text, tabs=path.suffix == ".tsv" or "\t" in text)
    except OSError as error:
        raise DataError(
            f"--class-names '{path}' cannot be opened: {error.strerror}."
        ) from error
    # csv.Error: a cell of more than 128 KB; RecursionError: JSON nested a thousand times
    except (ValueError, csv.Error, RecursionError) as error:
        raise DataError(
            f"--class-names '{path}' cannot be read: {error}.",
            'Give JSON {"label": "name"} or lines label,name.',
        ) from error


def _names_of_json(text: str) -> dict[str, str]:
    names = json.loads(text)
    if not isinstance(names, dict):
        raise ValueError("it is not a JSON object")
    for label, name in names.items():
        if isinstance(name, dict | list) or name is None:
            raise ValueError(f"the name of '{label}' is not a text")
    return {label: str(name) for label, name in names.items()}


def _names_of_lines(text: str, *, tabs: bool) -> dict[str, str]:
    # LOC_synset_mapping.txt of ImageNet: "n01440764 tench, Tinca tinca"
    text = WORDNET.sub(r"\1,", text)
    delimiter = "\t" if tabs else ","
    lines = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    names = {}
    for number, cells in enumerate(lines, 1):
        if len(cells) == 1:
            raise ValueError(f"line {number}: '{cells[0][:40]}' is not label,name")
        # csv gives an empty list for an empty line
        if cells:
            # WordNet's names have commas: n01440764,tench, Tinca tinca
            names[cells[0].strip()] = ", ".join(cells[1:]).strip()
    return names


def refuse_input(output: Path, data: Path | None) -> None:
    """Refuse to write a file over the data that are read.

    Args:
        data: a file, a folder, or a pattern of files; None where they are Python objects.

    Raises:
        OptionError: it is one of their files, by whatever names or links.
    """
    if data is None or not _is_there(output):
        return
    if any(_is_same(output, file) for file in (data, *_tables_of(data))):
        raise OptionError(
            f"-o '{readable(output)}' holds the data, which would be lost.",
            "Choose another name with -o.",
        )


def _is_there(path: Path) -> bool:
    # no path at all: a zero byte
    with contextlib.suppress(OSError, ValueError):
        return path.exists()
    return False


def _is_same(path: Path, other: Path) -> bool:
    # one of them is not there, or is no path at all (a hub id)
    with contextlib.suppress(OSError, ValueError):
        return path.samefile(other)
    return False


def _tables_of(data: Path) -> list[Path]:
    """The tables that data are read from, where their path names several."""
    try:
        if not data.is_dir():
            return [Path(name) for name in matching(data)] if has_pattern(data) else []
    except (OSError, ValueError):
        return []
    seen = look(data)
    # beside pictures other tables may be earlier results
    if seen.pictures:
        return [data / name for name in seen.tables if Path(name).name in METADATA]
    return [data / name for name in tables_in(data)]
