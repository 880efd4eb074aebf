"""Commands that write what is read out of what is not: Pascal VOC, a column of ones for each class.

Each is one line for a shell that needs Python and nothing else, writes a new file beside the data
and leaves these as they are.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from labelsieve.data.sources._dialect import dialect_of
from labelsieve.files import readable

# A file per picture, which lies beside it or in the usual folder next to that of the files. What
# has no picture is left out; ids are counted from 1.
VOC = """
import glob, json, os, xml.etree.ElementTree as E
d = {folder!r}
s = lambda f: (f.replace('/Annotations/', '/JPEGImages/')
    .replace('/annotations/', '/images/')[:-3])
x = [(f, p) for f in sorted(glob.glob(glob.escape(d) + '/**/*.xml', recursive=True))
    for p in glob.glob(glob.escape(s(f)) + '*') if not p.endswith('.xml')]
o = [(i, o) for i, (f, p) in enumerate(x, 1) for o in E.parse(f).iter('object')]
n = sorted({{o.findtext('name') for _, o in o}})
b = [[float(o.findtext('bndbox/' + k)) for k in ('xmin', 'ymin', 'xmax', 'ymax')]
    for _, o in o]
a = [{{'id': k, 'image_id': i, 'category_id': n.index(o.findtext('name')),
    'bbox': [q[0], q[1], q[2] - q[0], q[3] - q[1]], 'iscrowd': 0}}
    for k, ((i, o), q) in enumerate(zip(o, b), 1)]
p = [{{'id': i, 'file_name': os.path.relpath(p, d)}} for i, (_, p) in enumerate(x, 1)]
c = [{{'id': i, 'name': m}} for i, m in enumerate(n)]
json.dump({{'images': p, 'annotations': a, 'categories': c}}, open({made!r}, 'w'))
"""
# Cells are text, as they were: an id such as 0017 stays what it is.
ONES = """
import csv, glob
c = {classes!r}
t = {{f: list(csv.DictReader(open(f, encoding={encoding!r}, newline=''),
    delimiter={separator!r}, skipinitialspace=True)) for f in {tables}}}
k = {{f: [n for n in t[f][0] if n not in c] for f in t}}
j = lambda v: '|'.join(n.strip() for n in c if v[n].strip() in ('1', '1.0', 'True'))
w = lambda f: csv.writer(open({made}, 'w', encoding='utf-8', newline=''))
[w(f).writerows([[*k[f], 'label'], *([*map(v.get, k[f]), j(v)] for v in t[f])]) for f in t]
"""
# What stands for a class that a picture has, and for one that it has not.
ONE, ZERO = ("1", "1.0", "True"), ("0", "0.0", "False", "-1", "-1.0", "")


def voc_as_coco(folder: Path) -> str:
    """What writes the boxes of Pascal VOC as one file of COCO; a command.

    Of Datumaro where the folder has the lists of pictures that it needs.
    """
    if (folder / "ImageSets").is_dir():
        new = folder.with_name(f"{folder.resolve().name}-coco")
        return (
            "Convert it: pip install 'datumaro[cli]' && datum convert -if voc -i "
            f"{word(folder)} -f coco_instances -o {word(new)} -- --save-media"
        )
    made = unused(folder.parent / f"{folder.name or 'voc'}-coco.json")
    root, file = word(folder), word(made)
    program = VOC.format(folder=os.fspath(folder), made=os.fspath(made))
    scan = f"labelsieve scan {file} --root {root}"
    return f"Write its boxes as COCO: {python(program)} && {scan}"


def classes_of(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns that hold ones and zeros alone, where a row has several ones; else none.

    Args:
        names: of the columns that may be classes.
        rows: their cells, a sequence for each row.
    """
    # a cell without a text stands for a class that a picture has not
    told = [["" if cell is None else str(cell).strip() for cell in r] for r in rows]
    marks = [
        at
        for at in range(len(names))
        if all(row[at] in (*ONE, *ZERO) for row in told)
        and any(row[at] for row in told)
    ]
    several = any(sum(row[at] in ONE for at in marks) > 1 for row in told)
    # a mark in a name would part it
    plain = all("|" not in names[at] for at in marks)
    return [names[at] for at in marks] if several and plain else []


def ones_as_sets(table: Path, several: Path | None, classes: Sequence[str]) -> str:
    """What writes the classes with a one as a set of labels, and the table to be scanned.

    Args:
        several: a pattern, where each split has such a table.

    Returns:
        The command, and " && labelsieve scan TABLE --label-separator '|'" behind it.
    """
    suffix = unused(table.with_name(f"{table.stem}-sets.csv")).name
    dialect = dialect_of(table)
    # a mark at the start of the file is no part of the first name
    encoding = "utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding
    tables = f"[{os.fspath(table)!r}]"
    if several is not None:
        tables = f"glob.glob({os.fspath(several)!r})"
    program = ONES.format(
        # spaces behind a comma are left out where it is read
        classes=[name.lstrip() for name in classes],
        encoding=encoding,
        separator=dialect.separator,
        tables=tables,
        made=f"f[:-{len(table.name)}] + {suffix!r}",
    )
    made = (several or table).with_name(suffix)
    scanned = f"labelsieve scan {word(made)} --label-separator '|'"
    return f"{python(program)} && {scanned}"


def word(path: str | Path) -> str:
    """A path as one word of a command, for bash and zsh: no option, no line of its own."""
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"
    if readable(text) == text:
        return shlex.quote(text)
    # what is no printable text has no other spelling in one line
    letters = [
        chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(text)
    ]
    return f"$'{''.join(letters)}'"


def as_table(
    folder: Path, header: str, loops: str, cells: str, *, before: str = "pass"
) -> str:
    """What writes a CSV beside a folder, and the scan of it; a command.

    Args:
        folder: where the pictures are; `d` in what follows.
        loops: of a comprehension over the rows.
        cells: of each row, with the path below the folder first.
        before: statements that the loops need.
    """
    made = unused(folder.parent / f"{folder.resolve().name}.csv")
    program = f"""
import csv, glob, json, os
d = {os.fspath(folder)!r}
{before}
r = [({cells}) {loops}]
w = csv.writer(open({os.fspath(made)!r}, 'w', encoding='utf-8', newline=''))
w.writerows([{header.split(",")!r}, *r])
"""
    scan = f"labelsieve scan {word(made)} --root {word(folder)}"
    return f"Write a table: {python(program)} && {scan}"


def unused(path: Path) -> Path:
    """A name for what a proposed command writes: of a file that is there, with a number."""
    free = path
    number = 2
    while os.path.lexists(free):
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free


def python(program: str) -> str:
    """A program as one line for a shell."""
    lines: list[str] = []
    for line in program.strip().splitlines():
        # what is indented goes on with the line before it
        if line.startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    # -P: no file of the folder that it runs in is taken for a module
    return f"python -P -c {shlex.quote('; '.join(lines))}"
