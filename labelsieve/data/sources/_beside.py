"""Tables and the pictures that they name: which command reads both together.

People have `train.csv` beside `train/`, a column `id` without suffixes, a column of zeros and ones
for each class. What is found here is only told, as a command: a scan never guesses.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labelsieve.data.sources._columns import IMAGE_NAMES, IMAGES, LABEL_NAMES, Columns
from labelsieve.data.sources._convert import classes_of, ones_as_sets, unused, word
from labelsieve.data.sources._formats import format_of, named, open_table, schema_of
from labelsieve.data.sources._layout import SPLITS, is_image, look, split_of
from labelsieve.data.sources._stores import LOOKED_FOR, as_written
from labelsieve.errors import DataError
from labelsieve.files import readable
from labelsieve.progress import plain

LINES = (
    1000  # rows that are looked at: of a rare class, or of a picture with several votes
)
# Columns that say whose label a row has.
PEOPLE = frozenset(
    [
        *("annotator", "annotator_id", "worker", "worker_id", "workerid", "rater"),
        *("rater_id", "labeler", "labeller", "user", "user_id", "voter", "expert"),
    ]
)
# Folders that pictures usually lie in, from that of the table; those below are looked for.
ABOVE = ("../images", "../data", "../train", "..")
BOX_SIDES = frozenset(("xmin", "ymin", "xmax", "ymax"))
CORNERS = frozenset(("x1", "y1", "x2", "y2"))
# "cat.12.jpg", "red_fox_3.png", "fox (4).jpg": a word, then a number
WORD_AND_NUMBER = re.compile(
    r"([A-Za-z]+(?:[ _][A-Za-z]+)*)[._ -]*\(?\d+\)?\.[A-Za-z]+"
)


def scan_command(path: str | Path, more: str = "") -> str:
    """The command that reads something, as a person types it."""
    return f"Try: labelsieve scan {word(path)}{more}"


def command_for(table: Path) -> str:
    """The command that reads a table with the pictures that it names, and their labels.

    With the options that it needs, where the pictures were found; else without any.
    """
    found = reading(table)
    if found is None:
        return scan_command(table)
    image, home, names, records = found
    more = "" if _is_usual(image, names) else f" --image-column {shlex.quote(image)}"
    others = [name for name in names if name != image]
    more += _label_options(others, records)
    several = _of_each_split(table) if home == table.parent else None
    if home != table.parent:
        more += f" --root {word(home)}"
    classes = _classes(table, others, records)
    if classes:
        written = ones_as_sets(table, several, classes)
        return f"Write the ones of each row as a set of labels: {written}{more}"
    return scan_command(several or table, more)


def _classes(table: Path, names: list[str], records: list[dict[str, Any]]) -> list[str]:
    """Columns of classes of which a row has several; none where another column has labels."""
    # what the command reads is a CSV file as it lies there
    if format_of(table) not in ("csv", "tsv") or table.suffix.lower() not in (
        ".csv",
        ".tsv",
    ):
        return []
    if {name.lower() for name in names} & set(LABEL_NAMES):
        return []
    return classes_of(names, [[record[name] for name in names] for record in records])


def reading(table: Path) -> tuple[str, Path, list[str], list[dict[str, Any]]] | None:
    """Image column, folder of the pictures, names of all columns, first rows.

    None where no column names pictures that lie near the table.
    """
    # a table that cannot be read is told when it is scanned
    with contextlib.suppress(DataError), named(table):
        names = list(schema_of(table).names)
        records = next(iter(open_table(table, names).parts), [])[:LINES]
        usual = [name for name in names if name.lower() in IMAGE_NAMES]
        for column in [*usual, *(name for name in names if name not in usual)]:
            home = home_of(table, [record.get(column) for record in records])
            if home is not None:
                return column, home, names, records
    return None


def refuse_elsewhere(table: Path, image: str) -> None:
    """Raises DataError where the pictures of a table lie in a folder near it, and not beside it."""
    with named(table):
        records = next(iter(open_table(table, [image]).parts), [])[:LOOKED_FOR]
    cells = [record[image] for record in records]
    home = home_of(table, cells)
    # nowhere: they are told one by one, as unreadable
    if home is None or home == table.parent:
        return
    raise DataError(
        f"The pictures of '{readable(table)}', such as '{plain(cells[0])[:120]}', are not "
        "beside it.",
        command_for(table),
    )


def home_of(table: Path, cells: Sequence[Any]) -> Path | None:
    """The folder near a table that all of some pictures lie in; its own before others."""
    some = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if not some or len(some) < len(cells):
        return None
    for home in _homes(table):
        if all(_is_picture(home, name) for name in some[:LOOKED_FOR]):
            return home
    return None


def _homes(table: Path) -> Iterator[Path]:
    folder = table.parent
    yield folder
    below = {name.rpartition("/")[0]: None for name in look(folder).pictures}
    # train.csv is about the pictures in train/ before those in test/
    own = split_of(table.name)
    for name in sorted(below, key=lambda name: own is None or split_of(name) != own):
        # class folders hold pictures under the names that the table has only by chance
        yield folder / name
    for name in ABOVE:
        yield folder.parent / name.removeprefix("..").removeprefix("/")


def _is_picture(home: Path, name: str) -> bool:
    # a name of thousands of letters is none
    with contextlib.suppress(OSError, ValueError):
        file = as_written(home, name)
        return is_image(file.name) and file.is_file()
    return False


def _is_usual(image: str, names: Sequence[str]) -> bool:
    """Whether reading takes this column by itself."""
    lower = {name.lower(): name for name in names}
    first = next((lower[name] for name in IMAGE_NAMES if name in lower), None)
    return first == image


def _label_options(names: list[str], records: list[dict[str, Any]]) -> str:
    if {name.lower() for name in names} & set(LABEL_NAMES):
        return ""
    others = [name for name in names if name.lower() != "split"]
    if len(others) == 1:
        return f" --label-column {shlex.quote(others[0])}"
    # one column for each class, with a one in that of the picture
    ones = [sum(_number(row[name]) for name in others) for row in records]
    if len(others) > 1 and ones and all(total == 1 for total in ones):
        return (
            f" --count-columns {shlex.quote(','.join(name.strip() for name in others))}"
        )
    return ""


def _number(cell: Any) -> float:
    """Zero or one; anything else is no sign of a class."""
    text = str(cell).strip()
    if text in ("0", "0.0", "False"):
        return 0.0
    return 1.0 if text in ("1", "1.0", "True") else float("nan")


def _of_each_split(table: Path) -> Path | None:
    """A pattern for the tables of this name in all split folders, where there are several."""
    above = table.parent.parent
    if table.parent.name.lower() not in SPLITS:
        return None
    alike = [file for file in above.glob(f"*/{table.name}") if file.is_file()]
    splits = [file for file in alike if file.parent.name.lower() in SPLITS]
    return above / "*" / table.name if len(splits) == len(alike) > 1 else None


def boxes_in_rows(table: Path, columns: Columns) -> list[str]:
    """A line where each row is a box of a picture, of which the whole would be judged."""
    names = {name.strip().lower() for name in schema_of(table).names}
    if columns.modality != IMAGES or not (names >= BOX_SIDES or names >= CORNERS):
        return []
    return [
        "each row has a box, and whole pictures are judged, one label at a time. For boxes write "
        "COCO, YOLO or CVAT (datumaro and FiftyOne convert), whose boxes are cut out"
    ]


def votes_below_each_other(table: Path, columns: Columns) -> list[str]:
    """A line where each row is what one person said, and a picture has several rows."""
    if columns.label is None or columns.modality != IMAGES:
        return []
    names = schema_of(table).names
    who = next((name for name in names if name.lower() in PEOPLE), None)
    if who is None:
        return []
    wanted = [columns.image, who, columns.label]
    records = next(iter(open_table(table, wanted).parts), [])[:LINES]
    people: dict[str, set[str]] = defaultdict(set)
    for record in records:
        people[str(record[columns.image])].add(str(record[who]))
    if max(map(len, people.values()), default=0) < 2:
        return []
    image, label = columns.image, columns.label
    made = str(unused(table.with_name(f"{table.stem}-votes.csv")))
    # a column for each vote, whoever gave it
    wide = (
        f"import pandas as pd; t = pd.read_csv({str(table)!r}, dtype=str, sep=None, "
        f"engine='python'); t['n'] = t.groupby({image!r}).cumcount(); "
        f"t.pivot(index={image!r}, columns='n', values={label!r}).add_prefix('vote_')"
        f".to_csv({made!r})"
    )
    return [
        f"each row looks like the vote of one person ('{plain(who)}'), and is judged as a label "
        f"of its own. Put the votes of a picture beside each other: python -P -c "
        f"{shlex.quote(wide)} && labelsieve scan {word(made)} --vote-columns 'vote_*'"
    ]


def words_in_names(pictures: Sequence[str]) -> list[str]:
    """Words before the numbers in names of pictures, where these look like classes."""
    found = [WORD_AND_NUMBER.fullmatch(n.rpartition("/")[2]) for n in pictures]
    words = sorted({match[1] for match in found if match})
    # "IMG_1234.jpg" has one word, and a title is a word of its own for each picture
    several = 1 < len(words) <= len(pictures) / 2
    return words if several and all(found) else []


def table_of_names(folder: Path) -> str:
    """The command that writes the words in names of pictures into a table and reads it."""
    name, table = (
        word(folder),
        word(unused(Path(f"{folder}.csv"))),
    )
    # the same words as `WORD_AND_NUMBER`, by sed
    words = r"s|^\./((.*/)?([A-Za-z]+([ _][A-Za-z]+)*)[._ -]*\(?[0-9]+\)?\.[A-Za-z]+)$|\1,\3|p"
    listed = (
        f"(echo image,label; cd {name} && find . -type f | sort | sed -nE '{words}')"
    )
    return f"Write a table: {listed} > {table} && labelsieve scan {table} --root {name}"
