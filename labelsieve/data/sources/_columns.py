"""Which column of a table is what: as the user says, or by its usual name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from labelsieve.data.sources import check_one_value
from labelsieve.data.sources._convert import unused, word
from labelsieve.data.sources._formats import format_of, named, open_table
from labelsieve.data.sources._labels import Labelling, of_column, voted
from labelsieve.data.sources._layout import is_image
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown

# Kinds of items that the column of a table may hold.
IMAGES, TEXTS = "images", "texts"
# Columns as people and tools name them, the likeliest first.
IMAGE_NAMES = (
    *("image", "img", "image_path", "path", "file", "file_name", "filename"),
    *("filepath", "file_path", "images", "url", "image_url"),
)
TEXT_NAMES = (
    *("text", "texts", "sentence", "review", "content", "body", "document"),
    *("message", "comment", "question", "utterance", "headline", "title"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "class_name", "category", "target", "given_label"),
    "labelname",  # OpenImages
)


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are; `image` is that of the items, whatever their kind."""

    image: str
    labelling: Labelling | None  # None where there are no labels, and none are needed
    truth: str | None
    id: str | None
    split: str | None
    modality: str = IMAGES  # a file of `labelsieve.data.modalities`

    @property
    def label(self) -> str | None:
        """The column of labels; None where there is none, or several people voted."""
        known = self.labelling
        voted_on = known is None or known.form in ("votes", "counts")
        return None if known is None or voted_on else known.columns[0]

    def read(self) -> list[str]:
        """All that are read, each once: two roles may share a column."""
        labels = self.labelling.columns if self.labelling else ()
        wanted = (self.image, *labels, self.truth, self.id, self.split)
        return list(dict.fromkeys(c for c in wanted if c))


def choose(spec: DataSpec, path: Path, schema: pa.Schema) -> Columns:
    """The columns of a table.

    Raises:
        DataError, OptionError: one is missing, has no usual name, or cannot be what it should.
    """
    names = schema.names
    _refuse_rejected(path, names)
    try:
        modality, image = item_column(spec, names, f"'{path}'")
        labelling = _labelling(spec, path, schema)
    except DataError as error:
        raise _with_command(error, spec, path) from error
    others = {"--truth-column": spec.truth_column, "--id-column": spec.id_column}
    _check_there(path, names, others)
    split = _split_column(spec, names, path)
    _check_types(path, schema, image, labelling, others)
    if modality == IMAGES:
        _check_image_type(path, image, schema.field(image).type)
    else:
        _check_text_type(path, image, schema.field(image).type)
    about = (labelling, spec.truth_column, spec.id_column, split, modality)
    return Columns(image, *about)


def _refuse_rejected(path: Path, names: Sequence[str]) -> None:
    """Raises DataError where Prodigy has rows whose label was rejected, or skipped, by people."""
    if not {"answer", "_task_hash"} <= set(names):
        return
    with named(path):
        answers = [r["answer"] for p in open_table(path, ["answer"]).parts for r in p]
    rejected = sum(answer != "accept" for answer in answers)
    if not rejected:
        return
    new = word(unused(path.with_name(f"{path.stem}-accepted{path.suffix}")))
    pattern = """'"answer": *"accept"'"""
    raise DataError(
        f"'{path}' is of Prodigy, and {rejected} of its {len(answers)} answers are not 'accept': "
        "nobody stands by these labels.",
        f"Keep the others: grep -e {pattern} -- {word(path)} > {new}"
        if format_of(path) == "jsonl"
        else "Keep the others in a table of their own.",
    )


def _with_command(error: DataError, spec: DataSpec, path: Path) -> DataError:
    """The same refusal with the command that helps, where nothing was named that is wrong."""
    named = (spec.image_column, spec.text_column, spec.label_column, spec.root)
    if any((*named, spec.vote_columns, spec.count_columns)):
        return error
    # here, as what looks for the pictures needs this module
    from labelsieve.data.sources._beside import command_for, scan_command

    command = command_for(path)
    # with no other options than were given, it would end like this
    return error if command == scan_command(path) else DataError(error.what, command)


def item_column(spec: DataSpec, columns: Sequence[str], where: str) -> tuple[str, str]:
    """The kind of the items, and the column that holds them.

    As the user names it, else a column with a usual name, of images before one of texts.

    Args:
        where: names the table in a message.

    Raises:
        DataError: there is no such column, or two are named.
    """
    if spec.image_column and spec.text_column:
        raise DataError(
            "--image-column and --text-column exclude each other.",
            "A run judges either images or texts.",
        )
    if spec.text_column is not None:
        check_column("--text-column", spec.text_column, columns, where)
        return TEXTS, spec.text_column
    if spec.image_column is not None:
        check_column("--image-column", spec.image_column, columns, where)
        return IMAGES, spec.image_column
    # "Image" and "IMAGE" are as usual as "image"
    lower = {c.lower(): c for c in columns}
    for modality, usual in ((IMAGES, IMAGE_NAMES), (TEXTS, TEXT_NAMES)):
        for name in usual:
            if name in lower:
                return modality, lower[name]
    if any(map(is_image, columns)):
        raise DataError(
            f"The first line of {where} names a picture, and no columns.",
            "Put a line of names before it: image,label",
        )
    raise DataError(
        f"{where} has no column with a usual name for --image-column or --text-column.",
        f"Name one of: {', '.join(columns)}.",
    )


def check_column(flag: str, name: str, columns: Sequence[str], where: str) -> None:
    """Raises DataError when a column that the user named, by option, is not there."""
    if name not in columns:
        raise DataError(
            f"{flag}: {unknown('Column', name, columns)}", f"Table: {where}."
        )


def _labelling(spec: DataSpec, path: Path, schema: pa.Schema) -> Labelling | None:
    # several columns, where the user says so
    votes = voted(spec, schema.names, str(path))
    if votes is not None:
        return votes
    # images to classify: labels are only read where they are named
    if not spec.labelled and not spec.label_column:
        return None
    flag = "--label-column"
    label = _pick(spec.label_column, flag, LABEL_NAMES, schema.names, path)
    _check_single(path, schema, label)
    kind, empty = schema.field(label).type, format_of(path) in ("csv", "tsv")
    return of_column(label, kind, spec.label_separator, empty=empty)


def _check_there(
    path: Path, columns: Sequence[str], wanted: dict[str, str | None]
) -> None:
    """Raises DataError when a column that the user named, by option, is not in the table."""
    for flag, name in wanted.items():
        if name is not None:
            check_column(flag, name, columns, f"'{path}'")


def _split_column(spec: DataSpec, columns: Sequence[str], path: Path) -> str | None:
    """The column of splits, where there is one."""
    if "split" in columns:
        return "split"
    if spec.split is not None:
        raise DataError(
            f"--split needs a column 'split'; '{path}' has none.",
            f"There are: {', '.join(columns)}.",
        )
    return None


def _check_types(
    path: Path,
    schema: pa.Schema,
    image: str,
    labelling: Labelling | None,
    others: dict[str, str | None],
) -> None:
    for flag, name in {"--image-column": image, **others}.items():
        if name is not None:
            _check_single(path, schema, name)
            # where labels are lists, true ones are
            if flag == "--truth-column" and labelling and labelling.form == "list":
                _check_list(schema.field(name).type, name)
            elif name != image:
                check_one_value(schema.field(name).type, flag, name)
    for name in labelling.columns if labelling else ():
        # a list of labels is a set; of people and of classes each column has one value
        if labelling and labelling.form != "list":
            check_one_value(schema.field(name).type, "--label-column", name)
        else:
            _check_list(schema.field(name).type, name)


def _check_list(kind: pa.DataType, name: str) -> None:
    # lists of lists, or of boxes
    if pa.types.is_nested(kind.value_type):
        raise DataError(
            f"--label-column '{name}' holds {kind}.",
            "One label per image, or a list of labels, is needed.",
        )


def _check_single(path: Path, schema: pa.Schema, name: str) -> None:
    times = schema.names.count(name)
    if times > 1:
        raise DataError(
            f"'{path}' has {times} columns named '{name}'.", "Rename all but one."
        )


def _check_image_type(path: Path, image: str, kind: pa.DataType) -> None:
    # a CSV file has no types: file names that look like numbers are read as text
    typed = format_of(path) in ("parquet", "jsonl")
    useless = typed and _is_number(kind)
    if pa.types.is_list(kind) or useless:
        raise DataError(
            f"--image-column '{image}' of '{path}' holds {kind}.",
            "Paths or encoded images (bytes) are needed.",
        )


def _check_text_type(path: Path, column: str, kind: pa.DataType) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    # numbers are no texts: most likely another column was meant
    if pa.types.is_nested(kind) or _is_number(kind):
        raise DataError(
            f"--text-column '{column}' of '{path}' holds {kind}.", "Texts are needed."
        )


def _is_number(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(number or pa.types.is_boolean(kind))


def _pick(
    wanted: str | None,
    flag: str,
    usual: tuple[str, ...],
    columns: Sequence[str],
    path: Path,
) -> str:
    if wanted is not None:
        _check_there(path, columns, {flag: wanted})
        return wanted
    # "Image" and "IMAGE" are as usual as "image"
    lower = {c.lower(): c for c in columns}
    for name in usual:
        if name in lower:
            return lower[name]
    # besides the picture there are several that may be people, or classes
    votes = len(columns) > 2
    hint = " Several people: --vote-columns; a count per class: --count-columns."
    raise DataError(
        f"'{path}' has no column with a usual name for {flag}.",
        f"Name one of: {', '.join(columns)}.{hint if votes else ''}",
    )
