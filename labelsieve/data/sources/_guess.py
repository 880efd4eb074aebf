"""What a refused input looks like, and the one command or step that helps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from labelsieve.data.sources._columns import IMAGE_NAMES, TEXT_NAMES
from labelsieve.data.sources._layout import (
    LABEL_TABLES,
    PLAIN,
    SPLITS,
    Look,
    is_image,
    label_table,
    look,
)
from labelsieve.files import readable
from labelsieve.progress import plain

START = 1 << 16  # bytes of a file by which its kind is told
# Suffix -> what the file is, and what to do about it.
KNOWN = {
    ".xlsx": ("a spreadsheet", "Save it as CSV."),
    ".xls": ("a spreadsheet", "Save it as CSV."),
    ".ods": ("a spreadsheet", "Save it as CSV."),
    ".pkl": (
        "a pickle, which could run code",
        "Save it as Parquet: df.to_parquet(...).",
    ),
    ".pickle": ("a pickle, which could run code", "Save it as Parquet."),
    ".pt": ("a pickle, which could run code", "Use labelsieve.load((images, labels))."),
    ".pth": (
        "a pickle, which could run code",
        "Use labelsieve.load((images, labels)).",
    ),
    ".npy": ("an array", "Use labelsieve.load((images, labels)) in Python."),
    ".npz": ("arrays", "Use labelsieve.load((images, labels)) in Python."),
    ".h5": ("HDF5", "Use labelsieve.load((images, labels)) in Python."),
    ".hdf5": ("HDF5", "Use labelsieve.load((images, labels)) in Python."),
    ".tfrecord": ("TensorFlow records", "Use labelsieve.load(dataset) in Python."),
    ".mat": (
        "a file of MATLAB",
        "Write image and label into a CSV: scipy.io.loadmat reads it.",
    ),
    ".mdb": ("LMDB", "Use labelsieve.load(dataset) in Python."),
    ".ipynb": ("a notebook", "Name the data that it reads."),
    ".arrow": ("one file of a saved data set", "Name the folder that it lies in."),
    ".db": ("a database", "Write the rows to CSV or Parquet."),
    ".sqlite": ("a database", "Write the rows to CSV or Parquet."),
    ".rar": (
        "an archive of a kind that is not read",
        "Unpack it, or make a zip of it.",
    ),
    ".7z": ("an archive of a kind that is not read", "Unpack it, or make a zip of it."),
    ".parquet.gz": ("a Parquet file packed once more", "Unpack it: gunzip -k {}"),
    ".json.gz": ("packed JSON", "Unpack it: gunzip -k {}"),
    ".gz": ("one packed file", "Unpack it with gunzip."),
    ".bz2": ("one packed file", "Unpack it with bunzip2."),
    ".xz": ("one packed file", "Unpack it with unxz."),
}
VOC = ("Pascal VOC, a file per picture", "Convert it to COCO or CVAT.")
DEVKIT = (
    "the development kit of ImageNet, without pictures",
    "Name the folder of the pictures: train/n01440764/….",
)


def start_of(path: Path) -> str:
    """The first characters of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(START).decode("utf-8-sig", "replace").lstrip()
    except OSError:
        return ""


def json_kind(path: Path) -> str | None:
    """coco, label-studio, or records (a list of flat objects), by its first characters."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    text = start_of(path)
    # of a file of gigabytes only the start is known
    if text.startswith("{"):
        # a task, or an answer with its task, in a file of its own
        answers = '"data"' in text and ('"result"' in text or '"annotations"' in text)
        if answers and '"images"' not in text and '"categories"' not in text:
            return "label-studio"
        keys = ('"images"', '"annotations"', '"categories"')
        return "coco" if any(key in text for key in keys) else None
    if not text.startswith("["):
        return None
    tasks = '"data"' in text and ('"annotations"' in text or '"predictions"' in text)
    # JSON-MIN, the short form, has what was answered beside what was asked
    if tasks or '"lead_time"' in text or '"annotation_id"' in text:
        return "label-studio"
    return "records" if text[1:].lstrip().startswith("{") else None


def xml_kind(path: Path) -> str | None:
    """Either cvat or voc (Pascal VOC, a file per picture)."""
    if path.suffix.lower() != ".xml" or not path.is_file():
        return None
    text = start_of(path)
    if "<annotations" in text and ("<image" in text or "<meta" in text):
        return "cvat"
    return "voc" if "<annotation>" in text else None


def proposal(path: Path) -> tuple[str, str]:
    """What something that cannot be read looks like, and what to do; empty where nothing is known.

    The first is a clause ("it looks like ..."), the second a sentence.
    """
    if path.is_dir():
        seen = look(path)
        return _of_annotations(path, seen) or _of_pictures(path, seen)
    return _of_file(path)


def scan_command(path: str | Path, more: str = "") -> str:
    """The command that reads something, as a person types it."""
    name = readable(path)
    quoted = f"'{name}'" if any(c in name for c in " *?[]{}()'&;") else name
    return f"Try: labelsieve scan {quoted}{more}"


def unread(folder: Path) -> list[str]:
    """What lies beside class folders and says something of the pictures, a clause each."""
    seen = look(folder)
    found = _of_annotations(folder, seen)
    table = next((n for n in seen.tables if LABEL_TABLES.fullmatch(Path(n).stem)), None)
    if found is not None:
        return [f"the folder also holds {found[0]}, which was not read. {found[1]}"]
    # a table in a class folder is about something else
    if table is not None and "/" not in table:
        command = scan_command(folder / table)
        return [f"'{plain(table)}' beside the folders was not read. {command}"]
    return []


def _of_annotations(folder: Path, seen: Look) -> tuple[str, str] | None:
    called = {
        "coco": "COCO",
        "label-studio": "Label Studio",
        "cvat": "CVAT",
    }
    for name in seen.ending(".json", ".xml"):
        kind = json_kind(folder / name) or xml_kind(folder / name)
        if kind in called:
            what = f"{called[kind]} annotations, '{plain(name)}'"
            return what, scan_command(folder / name)
    # several tar files are shards, one may be a folder
    packed = seen.ending(".zip", ".tar", ".tar.gz", ".tgz")
    if len(packed) == 1:
        return "a packed data set", scan_command(folder / packed[0])
    if seen.ending(".mdb"):
        return KNOWN[".mdb"]
    shards = seen.ending(".tar")
    if shards:
        return "shards of WebDataset", scan_command(folder / "*.tar")
    return None


def _of_pictures(folder: Path, seen: Look) -> tuple[str, str]:
    # what is called like labels, or the only table
    table = label_table(seen)
    if seen.pictures and table is not None:
        what = f"pictures with a table of labels, '{plain(table)}'"
        return what, scan_command(folder / table)
    if seen.pictures:
        return (
            "pictures without labels",
            "Put the images of each class into a folder named after it, or name a table "
            "with the columns image and label.",
        )
    return "", "Put the images of each class into a folder named after it."


def _of_file(path: Path) -> tuple[str, str]:
    if is_image(path.name):
        return "a single picture", (
            "Name the folder above its class folder; to classify it, the folder that it is in."
        )
    if json_kind(path) == "records":
        lines = readable(path.with_suffix(".jsonl"))
        return (
            "a JSON list of records",
            f"Write one per line: jq -c '.[]' {readable(path)} > {lines}",
        )
    if xml_kind(path) == "voc":
        return "Pascal VOC annotations", "Convert them to COCO or CVAT."
    if re.search(r"\.tfrecords?(-\d+-of-\d+)?$", path.name, re.IGNORECASE):
        return KNOWN[".tfrecord"]
    if path.suffix.lower() == ".txt":
        return _of_list(path)
    if path.suffix.lower() == ".json" and start_of(path).startswith("["):
        return "a JSON list without records", (
            "Write one record per line, with image and label, as .jsonl."
        )
    both = "".join(path.suffixes[-2:]).lower()
    what, do = KNOWN.get(both) or KNOWN.get(path.suffix.lower(), ("", ""))
    return what, do.replace("{}", shlex.quote(readable(path)))


def _of_list(path: Path) -> tuple[str, str]:
    """Of a text file: what its first line says of pictures, if anything."""
    header = start_of(path).partition("\n")[0].strip()
    first = header.split()
    for mark, suffix in (("\t", ".tsv"), (",", ".csv"), (";", ".csv")):
        names = {name.strip('" ').lower() for name in header.split(mark)}
        if len(names) > 1 and names & {*IMAGE_NAMES, *TEXT_NAMES}:
            new = shlex.quote(readable(path.with_suffix(suffix)))
            return "a table", f"Name it so: cp {shlex.quote(readable(path))} {new}"
    pictures = [part for part in first if is_image(part.strip('",;'))]
    if not pictures:
        return (
            "a text file",
            "Name a folder of class folders of such files, or a table.",
        )
    if len(first) == len(pictures) == 1:
        return "a list of pictures without labels", (
            "Write the label after each path, or name the data.yaml of a YOLO data set."
        )
    if len(pictures) > 1:
        return "a list with several pictures in a line", (
            'Put a path with spaces into quotes: "a b.jpg" cat'
        )
    return "a list with the path behind other columns", (
        "Write the path first: images/1.jpg cat"
    )


def other_kind(folder: Path, inner: list[str]) -> tuple[str, str]:
    """What a folder is whose folders are no classes, and what to do; empty where they may be.

    Args:
        inner: names of its folders.
    """
    names = {name.lower() for name in inner}
    if "annotations" in names and names & {"jpegimages", "imagesets"}:
        return VOC
    if names <= {"data", "evaluation"} and (folder / "data" / "meta.mat").is_file():
        return DEVKIT
    table = label_table(look(folder)) if len(inner) == 1 else None
    # one folder of pictures, and what says which they are beside it
    if table and "/" not in table and PLAIN.fullmatch(inner[0]):
        what = f"pictures with a table of labels, '{plain(table)}'"
        return what, scan_command(
            folder / table, f" --root {shlex.quote(readable(folder / inner[0]))}"
        )
    if len(inner) != 1 or inner[0].lower() in SPLITS:
        return "", ""
    below = folder / inner[0]
    if (below / "data" / "meta.mat").is_file():
        return DEVKIT
    seen = look(below)
    inside = {name.partition("/")[0] for name in seen.pictures if "/" in name}
    # several folders, or a split, and no picture beside them: it only wraps what is meant
    wraps = len(inside) > 1 or any(name.lower() in SPLITS for name in inside)
    if wraps and all("/" in name for name in seen.pictures):
        return f"a folder around the data, '{readable(inner[0])}'", scan_command(below)
    return "", ""
