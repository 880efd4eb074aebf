"""Folders whose layout people know by a name, and which are no class folders.

What is found is refused, with one sentence or command: read as classes it would be read wrongly.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from labelsieve.data.sources._columns import LABEL_NAMES
from labelsieve.data.sources._convert import as_table, python, unused, word
from labelsieve.data.sources._layout import Look
from labelsieve.files import POINTER, readable, refuse_endless

PULL = "Fetch the files themselves: git lfs pull, in the repository."
PERSON = re.compile(r"(-1|\d{4})_c\d+s\d+_\d+")  # Market-1501, DukeMTMC
STREETS = "leftimg8bit"  # folder and names of Cityscapes
VALIDATION = re.compile(r"ILSVRC2012_val_\d{8}\.")
TRUTH = "ILSVRC2012_validation_ground_truth.txt"  # a number of a class in each line
BOX = re.compile(r"\d+( [\d.eE+-]+){4,}\s*$")  # a line of YOLO
LONGEST_LABEL = 60  # letters; longer is a caption
FEW = 3  # folders of one picture each that are no coincidence
LARGEST = 1 << 16  # bytes of a file that says something of one picture

SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
# Suffix -> what the file is, and what to do about it.
KNOWN = {
    **dict.fromkeys(SPREADSHEETS, ("a spreadsheet", "Save it as CSV.")),
    ".pkl": (
        "a pickle, which could run code",
        "Save it as Parquet: df.to_parquet(...).",
    ),
    ".pickle": ("a pickle, which could run code", "Save it as Parquet."),
    **dict.fromkeys(
        (".pt", ".pth"),
        ("a pickle, which could run code", "Use labelsieve.load((images, labels))."),
    ),
    ".npy": ("an array", "Use labelsieve.load((images, labels)) in Python."),
    ".npz": ("arrays", "Use labelsieve.load((images, labels)) in Python."),
    **dict.fromkeys(
        (".h5", ".hdf5"), ("HDF5", "Use labelsieve.load((images, labels)).")
    ),
    ".tfrecord": ("TensorFlow records", "Use labelsieve.load(dataset) in Python."),
    ".tfrec": ("TensorFlow records", "Use labelsieve.load(dataset) in Python."),
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


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer of Git LFS; what cannot be opened is none."""
    try:
        refuse_endless(path)
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:
        return False


def known(folder: Path, seen: Look) -> tuple[str, str] | None:
    """What a folder looks like, and what to do; None where its layout has no name.

    Args:
        seen: its first names.
    """
    for recognise in (_pointers, _streets, _persons, _flowers, _validation, _stores):
        found = recognise(folder, seen)
        if found is not None:
            return found
    return _items(folder, seen) or _beside(folder, seen)


def _pointers(folder: Path, seen: Look) -> tuple[str, str] | None:
    first = seen.pictures[:FEW]
    if first and all(is_pointer(folder / name) for name in first):
        return (
            f"pointers of Git LFS, such as '{readable(first[0])}', not pictures",
            PULL,
        )
    return None


def _streets(folder: Path, seen: Look) -> tuple[str, str] | None:
    inside = folder.resolve().name.lower() == STREETS
    folder = folder.resolve().parent if inside else folder
    named = any(f"_{STREETS}." in name.lower() for name in seen.pictures)
    if not named and not (folder / "leftImg8bit").is_dir():
        return None
    new = word(folder.with_name(f"{folder.resolve().name}-coco"))
    return "Cityscapes, which has a class for each pixel and none for a picture", (
        "Its objects can be judged as boxes: pip install 'datumaro[cli]' && datum convert -if "
        f"cityscapes -i {word(folder)} -f coco_instances -o {new} -- --save-media"
    )


def _persons(folder: Path, seen: Look) -> tuple[str, str] | None:
    if not seen.pictures or not all(map(PERSON.match, _last(seen.pictures))):
        return None
    # junk (-1) and distractors (0000) are nobody
    command = as_table(
        folder,
        "image,label",
        "for f in sorted(glob.glob(glob.escape(d) + '/**/*_c*s*_*', recursive=True)) "
        "for n in [os.path.basename(f).split('_')[0]] if n not in ('-1', '0000')",
        "os.path.relpath(f, d), n",
    )
    return "Market-1501, whose pictures have the person's number in their name", command


def _flowers(folder: Path, seen: Look) -> tuple[str, str] | None:
    if "imagelabels.mat" not in seen.others:
        return None
    command = as_table(
        folder,
        "image,label,split",
        "for i, n in enumerate(m('imagelabels.mat', 'labels'), 1)",
        "f'jpg/image_{i:05d}.jpg', n, s.get(i, '')",
        before="import scipy.io; m = lambda f, k: scipy.io.loadmat(d + '/' + f)[k].ravel()"
        ".tolist(); s = {i: n for n, k in (('train', 'trnid'), ('valid', 'valid'), ('test', "
        "'tstid')) if os.path.exists(d + '/setid.mat') for i in m('setid.mat', k)}",
    )
    return "Flowers-102, whose labels lie in imagelabels.mat", command


def _validation(folder: Path, seen: Look) -> tuple[str, str] | None:
    if not seen.pictures or not all(map(VALIDATION.match, seen.pictures)):
        return None
    truth = next((n for n in seen.others if n.endswith(TRUTH)), TRUTH)
    command = as_table(
        folder,
        "image,label",
        f"for f, n in zip(sorted(glob.glob(glob.escape(d) + '/*_val_*')), "
        f"open(os.path.join(d, {truth!r})).read().split())",
        "os.path.relpath(f, d), n",
    )
    if truth not in seen.others:
        command = f"Copy {TRUTH} of the development kit into it. {command}"
    return "ImageNet's validation pictures, whose labels lie elsewhere", command


def _stores(folder: Path, seen: Look) -> tuple[str, str] | None:
    """What programs lay out in folders of their own, which are no classes."""
    names = {Path(name).name for name in seen.others}
    if "meta.json" in seen.others and any("/ann/" in name for name in seen.others):
        return "a project of Supervisely", (
            "In Supervisely, run Export to COCO, and scan the JSON file that it gives."
        )
    if "dataset_meta.json" in seen.others and "version_control_info.json" in names:
        return (
            "a data set of Deep Lake",
            "Use labelsieve.load((images, labels)) in Python.",
        )
    lance = next((n for n in seen.others if n.endswith((".lance", ".manifest"))), "")
    if "data" in lance or "_versions" in lance:
        top = folder / lance.partition("_versions")[0].partition("data/")[0]
        made = unused(top.with_suffix(".parquet"))
        program = (
            "import lance, pyarrow.parquet as q\n"
            f"q.write_table(lance.dataset({str(top)!r}).to_table(), {str(made)!r})"
        )
        scan = f"labelsieve scan {word(made)}"
        return "a table of Lance", f"Write it as Parquet: {python(program)} && {scan}"
    if {"batches.meta", "data_batch_1"} <= names:
        return "CIFAR's pickles, which could run code", (
            "Take the binary version (cifar-10-binary.tar.gz) and use "
            "labelsieve.load((images, labels)) in Python."
        )
    if {"data_batch_1.bin"} <= names:
        return (
            "CIFAR-10's binary version",
            "Use labelsieve.load((images, labels)) in Python.",
        )
    return None


def _items(folder: Path, seen: Look) -> tuple[str, str] | None:
    """Folders that hold one picture each and a file of the same name about it."""
    tops = [name.partition("/")[0] for name in seen.pictures]
    inside = [name.partition("/")[2] for name in seen.others if "/" in name]
    if not FEW <= len(tops) == len(set(tops)) or not inside:
        return None
    about = max(sorted(set(inside)), key=inside.count)
    if inside.count(about) < len(tops) or not about.endswith((".txt", ".json")):
        return None
    what = f"folders of one picture and its '{readable(about)}' each"
    value = _value(folder / tops[0] / about)
    if value is None:
        return what, "Write a table with the columns image and label, and scan that."
    command = as_table(
        folder,
        "image,label",
        f"for f in sorted(glob.glob(glob.escape(d) + '/*/' + {about!r})) "
        "for p in sorted(glob.glob(glob.escape(os.path.dirname(f)) + '/*')) "
        "if p.lower().endswith(('.jpg', '.jpeg', '.png', '.webp', '.tif', '.bmp'))",
        f"os.path.relpath(p, d), {value}",
    )
    return what, command


def _value(about: Path) -> str | None:
    """Python that reads the label out of a file `f`; None where none is seen."""
    text = _text(about)
    if about.suffix == ".txt":
        return "open(f, encoding='utf-8').read().strip()"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    keys = [key for key in LABEL_NAMES if isinstance(found, dict) and key in found]
    if not keys or not isinstance(found[keys[0]], str | int):
        return None
    return f"json.load(open(f, encoding='utf-8'))[{keys[0]!r}]"


def _beside(folder: Path, seen: Look) -> tuple[str, str] | None:
    """Pictures in one folder, each with a text of its name beside it."""
    texts = {name[:-4] for name in seen.ending(".txt")}
    flat = seen.pictures and not any("/" in name for name in seen.pictures)
    if not texts or not flat:
        return None
    if not texts >= {name.rpartition(".")[0] for name in seen.pictures}:
        return None
    first = [_text(folder / f"{name}.txt").strip() for name in sorted(texts)[:50]]
    if any(map(BOX.match, first)):
        return "boxes of YOLO beside their pictures", (
            "Put pictures into images/, texts into labels/, and name a data.yaml with the classes."
        )
    if max(map(len, first)) > LONGEST_LABEL or len(set(first)) > max(2, len(first) / 2):
        return "pictures with a caption each, and no classes", (
            "Write a table with the columns image and label, and scan that."
        )
    command = as_table(
        folder,
        "image,label",
        "for f in sorted(glob.glob(glob.escape(d) + '/*.txt')) "
        "for p in sorted(glob.glob(glob.escape(f[:-4]) + '.*')) if p != f",
        "os.path.relpath(p, d), open(f, encoding='utf-8').read().strip()",
    )
    return "pictures with their label in a text of their name", command


def _last(names: list[str]) -> list[str]:
    return [name.rpartition("/")[2] for name in names]


def _text(path: Path) -> str:
    try:
        refuse_endless(path)
        with path.open("rb") as file:
            return file.read(LARGEST).decode("utf-8-sig", "replace")
    except OSError:
        return ""
