"""Naming a data set once, and files of class names."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

pass
from labelsieve.data.sources import archive
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, unknown


def load(data: Any, **options: Any) -> DataSpec:
    """Name a data set once, to hand it to `scan` and others.

    Args:
        data: a folder with one sub-folder per class, a CSV, TSV, JSONL or Parquet file, a `save_to_disk` folder, "hf://OWNER/NAME",
            "archive:NAME:FOLDER" (a benchmark's official archive), a `datasets.Dataset`, a torch Dataset of (image, label), or a
            tuple (images, labels).
        options: fields of `labelsieve.data.spec.DataSpec`: image_column, label_column, truth_column, id_column, root, split,
            class_names (label -> name in prompts, or a file), template.

    Raises:
        OptionError: an unknown option.
        DataError: the class-name file cannot be read.
    """
    allowed = [f for f in DataSpec.__dataclass_fields__ if f != "data"]
    for name in options:
        if name not in allowed:
            raise OptionError(unknown("Option", name, allowed))
    given = {k: v for k, v in options.items() if v is not None}
    if isinstance(given.get("class_names"), str | Path):
        given["class_names"] = read_class_names(Path(given["class_names"]))
    if "{}" not in given.get("template", "{}"):
        raise OptionError(
            f"--template '{given['template']}' has no {{}} for the class name.",
            "For example --template 'a photo of a {}.'",
        )
    try:
        given.get("template", "{}").format("")
    except (LookupError, ValueError) as error:
        raise OptionError(
            f"--template '{given['template']}' has other braces than one {{}}.",
            "Write each other brace twice.",
        ) from error
    if isinstance(data, str) and data.startswith(archive.PREFIX):
        data = archive.named(
            data, given.get("split")
        )  # knows its label sets and class names
    return (
        replace(data, **given)
        if isinstance(data, DataSpec)
        else DataSpec(data, **given)
    )


def read_class_names(path: Path) -> dict[str, str]:
    """Label -> prompt name from JSON ({"n01440764": "tench"}) or lines "label,name" (CSV, or TSV with a tab).

    Raises:
        DataError: not there, or neither of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return {str(k): str(v) for k, v in json.loads(text).items()}
    except OSError as error:
        raise DataError(
            f"--class-names '{path}' cannot be opened: {error.strerror}."
        ) from error
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"--class-names '{path}' cannot be read: {error}.",
            'Give JSON {"label": "name"} or lines label,name.',
        ) from error
    names = {}
    delimiter = "\t" if path.suffix == ".tsv" or "\t" in text else ","
    for number, fields in enumerate(
        csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True), 1
    ):
        if len(fields) == 1:
            raise DataError(
                f"--class-names '{path}', line {number}: '{fields[0][:40]}' is not label,name."
            )
        if fields:
            names[fields[0].strip()] = ", ".join(
                fields[1:]
            ).strip()  # "n01440764,tench, Tinca tinca" needs no quotes
    return names
