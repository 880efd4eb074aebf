"""What a refused input looks like, and the one command or step that helps."""

from __future__ import annotations

import re
from pathlib import Path

from labelsieve.data.sources._beside import (
    command_for,
    scan_command,
    table_of_names,
    words_in_names,
)
from labelsieve.data.sources._columns import IMAGE_NAMES, TEXT_NAMES
from labelsieve.data.sources._convert import unused, voc_as_coco, word
from labelsieve.data.sources._known import KNOWN, SPREADSHEETS
from labelsieve.data.sources._layout import (
    ABOUT,
    LABEL_TABLES,
    SPLITS,
    Look,
    has_class,
    is_alone,
    is_image,
    is_no_class,
    is_plain,
    label_table,
    look,
    with_pictures,
)
from labelsieve.files import readable, refuse_endless
from labelsieve.progress import plain

START = 1 << 16  # bytes of a file by which its kind is told
UNLABELLED = "pictures without labels"
VOC = "Pascal VOC, a file per picture"
# Kinds of JSON that are not read -> what they are, and the command or step that converts them;
# {} is their folder, {json} the file and {csv} a new one.
OTHERS = {
    "fiftyone": (
        "a data set of FiftyOne",
        "Convert it: fiftyone convert --input-dir {} --input-type fiftyone.types.{type} "
        "--output-dir {}-folders --output-type "
        "fiftyone.types.ImageClassificationDirectoryTree",
    ),
    "fiftyone-boxes": (
        "a data set of FiftyOne with boxes",
        "Convert it: fiftyone convert --input-dir {} --input-type fiftyone.types.{type} "
        "--output-dir {}-coco --output-type fiftyone.types.COCODetectionDataset",
    ),
    "labelme": (
        "LabelMe, a file per picture",
        "Convert it: pip install labelme2coco && labelme2coco {}",
    ),
    "datumaro": (
        "a data set of Datumaro",
        "Convert it: pip install 'datumaro[cli]' && datum convert -if datumaro -i {top} -f "
        "imagenet -o {top}-folders -- --save-media (-f coco_instances for boxes)",
    ),
    "vott": (
        "a project of VoTT",
        "In VoTT, choose CSV in the export settings, and scan the CSV file that it gives.",
    ),
    "via": (
        "a project of VIA",
        "In VIA, choose Annotation, Export Annotations (COCO format), and scan that.",
    ),
    "names": (
        "a JSON object of pictures and their labels",
        "Make a table of it: (echo image,label; jq -r 'to_entries[] | [.key, .value] | @csv' "
        "{json}) > {csv} && labelsieve scan {csv}",
    ),
}
DEVKIT = (
    "the development kit of ImageNet, without pictures",
    "Name the folder of the pictures: train/n01440764/….",
)


def start_of(path: Path) -> str:
    """The first characters of a file; empty where it cannot be read."""
    try:
        refuse_endless(path)
        with path.open("rb") as file:
            return file.read(START).decode("utf-8-sig", "replace").lstrip()
    except OSError:
        return ""


def json_kind(path: Path) -> str | None:
    """coco, label-studio, records (a list of flat objects), or what is not read (`OTHERS`)."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    text = start_of(path)
    # of a file of gigabytes only the start is known
    if text.startswith("{"):
        # a task, or an answer with its task, in a file of its own
        answers = '"data"' in text and ('"result"' in text or '"annotations"' in text)
        if answers and '"images"' not in text and '"categories"' not in text:
            return "label-studio"
        if '"items"' in text and '"categories"' in text and '"images"' not in text:
            return "datumaro"
        keys = ('"images"', '"annotations"', '"categories"')
        return "coco" if any(key in text for key in keys) else _other_json(text)
    if not text.startswith("["):
        return None
    tasks = '"data"' in text and ('"annotations"' in text or '"predictions"' in text)
    # JSON-MIN, the short form, has what was answered beside what was asked
    if tasks or '"lead_time"' in text or '"annotation_id"' in text:
        return "label-studio"
    return "records" if text[1:].lstrip().startswith("{") else None


def _not_read(path: Path) -> tuple[str, str] | None:
    """What JSON of a kind that is not read is, and how it is converted."""
    kind = json_kind(path)
    if kind not in OTHERS:
        return None
    what, do = OTHERS[kind]
    folder = word(path.parent)
    # a data set of FiftyOne's own format has a file of samples
    image = "Classification" if kind == "fiftyone" else "Detection"
    own = path.name == "samples.json"
    values = {
        "{type}": "FiftyOneDataset" if own else f"FiftyOneImage{image}Dataset",
        "{top}": word(path.parent.parent),
        "{json}": word(path),
        "{csv}": word(unused(path.with_suffix(".csv"))),
        "{}": folder,
    }
    # in one pass: a name may have such marks in it
    do = re.sub(r"\{[a-z]*\}", lambda mark: values[mark[0]], do)
    return what, do


def _other_json(text: str) -> str | None:
    """Of an object that is not read: the tool that writes such."""
    if ('"classes"' in text and '"labels"' in text) or '"_cls"' in text:
        boxed = '"bounding_box"' in text
        return "fiftyone-boxes" if boxed else "fiftyone"
    if '"imagePath"' in text and '"shapes"' in text:
        return "labelme"
    if '"assets"' in text or ('"asset"' in text and '"regions"' in text):
        return "vott"
    if '"region_attributes"' in text:
        return "via"
    # {"1.jpg": "cat", ...}
    first = re.match(r'\{\s*"([^"]+)"\s*:\s*("|-?\d)', text)
    return "names" if first and is_image(first[1]) else None


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


def unread(folder: Path) -> list[str]:
    """What lies beside class folders and says something of the pictures, a clause each."""
    seen = look(folder)
    found = _of_annotations(folder, seen)
    table = next((n for n in seen.tables if LABEL_TABLES.fullmatch(Path(n).stem)), None)
    if found is not None:
        return [f"the folder also holds {found[0]}, which was not read. {found[1]}"]
    # a table in a class folder is about something else
    if table is not None and "/" not in table:
        command = command_for(folder / table)
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
        other = _not_read(folder / name)
        if other is not None:
            return other
    # several tar files are shards, one may be a folder
    packed = seen.ending(".zip", ".tar", ".tar.gz", ".tgz")
    if len(packed) == 1:
        return "a packed data set", scan_command(folder / packed[0])
    if seen.ending("-ubyte.gz", "-ubyte"):
        return "arrays of MNIST", "Use labelsieve.load((images, labels)) in Python."
    if seen.ending(".mdb"):
        return KNOWN[".mdb"]
    shards = seen.ending(".tar")
    if shards:
        return "shards of WebDataset", scan_command(folder / "*.tar")
    return None


def _of_pictures(folder: Path, seen: Look) -> tuple[str, str]:
    # what is called like labels, or the only table
    table = label_table(seen)
    sheets = seen.ending(*SPREADSHEETS)
    if not seen.pictures:
        for name in [name for name in seen.others[:1] if "/" not in name]:
            what, do = _of_file(folder / name)
            if what:
                return f"{what}, '{plain(name)}'", do
        return "", "Put the images of each class into a folder named after it."
    if any(xml_kind(folder / name) == "voc" for name in seen.ending(".xml")[:1]):
        return VOC, voc_as_coco(folder)
    if table is not None:
        what = f"pictures with a table of labels, '{plain(table)}'"
        return what, command_for(folder / table)
    if sheets:
        saved = Path(sheets[0]).with_suffix(".csv")
        return f"pictures with a spreadsheet, '{plain(sheets[0])}'", (
            f"Save it as CSV. {scan_command(folder / saved)}"
        )
    # masks have the names of their pictures
    own = [n for n in seen.pictures if n.partition("/")[0].lower() not in ABOUT]
    if words_in_names(own):
        shown = plain(own[0].rpartition("/")[2])
        what = f"pictures with their labels in their names, such as '{shown}'"
        tops = {name.partition("/")[0] for name in own if "/" in name}
        alone = len(tops) == 1 and len(own) < len(seen.pictures)
        return what, table_of_names(folder / tops.pop() if alone else folder)
    return (
        UNLABELLED,
        "Put the images of each class into a folder named after it, or name a table "
        "with the columns image and label.",
    )


def _of_file(path: Path) -> tuple[str, str]:
    if is_image(path.name):
        return "a single picture", (
            "Name the folder above its class folder; to classify it, the folder that it is in."
        )
    if json_kind(path) == "records":
        lines = word(unused(path.with_suffix(".jsonl")))
        return (
            "a JSON list of records",
            f"Write one per line: jq -c '.[]' {word(path)} > {lines} "
            "(with jq 1.7 or later: earlier ones round numbers of more than 15 digits)",
        )
    if xml_kind(path) == "voc":
        folder = path.parent
        # Annotations/1.xml lies beside JPEGImages/
        inside = folder.name.lower() == "annotations"
        return VOC, voc_as_coco(folder.parent if inside else folder)
    other = _not_read(path)
    if other is not None:
        return other
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
    return what, do.replace("{}", word(path))


def _of_list(path: Path) -> tuple[str, str]:
    """Of a text file: what its first line says of pictures, if anything."""
    header = start_of(path).partition("\n")[0].strip()
    first = header.split()
    for mark, suffix in (("\t", ".tsv"), (",", ".csv"), (";", ".csv")):
        names = {name.strip('" ').lower() for name in header.split(mark)}
        if len(names) > 1 and names & {*IMAGE_NAMES, *TEXT_NAMES}:
            new = word(path.with_suffix(suffix))
            return "a table", f"Name it so: cp {word(path)} {new}"
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
        return VOC, voc_as_coco(folder)
    if names <= {"data", "evaluation"} and (folder / "data" / "meta.mat").is_file():
        return DEVKIT
    inner = with_pictures(folder, inner)
    alone = is_alone(folder, inner)
    if alone or all(map(is_no_class, inner)):
        found = _without_classes(folder, sorted(inner, key=is_plain, reverse=True))
        # one folder is a class where nothing else tells the labels
        if found[0] and not (alone and found[0].startswith(UNLABELLED)):
            return found
    if len(inner) != 1 or inner[0].lower() in SPLITS:
        return _grouped_once(folder, inner)
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


def _without_classes(folder: Path, inner: list[str]) -> tuple[str, str]:
    """Of folders such as train/ and images/, whose names say nothing of classes."""
    seen = look(folder)
    table = label_table(seen)
    # train/cat/1.jpg has classes, whatever else lies there
    deep = any(has_class(name, inner) for name in seen.pictures)
    if deep and not (len(inner) == 1 and table and "/" not in table):
        return "", ""
    found = _of_annotations(folder, seen)
    if found is not None:
        return found
    what, do = _of_pictures(folder, seen)
    if what == UNLABELLED:
        shown = readable(inner[0])
        what = f"{UNLABELLED}, as '{shown}' is no class"
    return what, do


def _grouped_once(folder: Path, inner: list[str]) -> tuple[str, str]:
    """Of splits that hold one folder each, with the class folders in it."""
    groups: set[str] = set()
    for split in inner:
        names = look(folder / split).pictures
        groups.update(name.partition("/")[0] for name in names)
        # train/cat/1.jpg is not grouped
        if split.lower() not in SPLITS or any(n.count("/") < 2 for n in names):
            return "", ""
    if len(groups) > 1 and all(map(is_no_class, groups)):
        return _without_classes(folder, inner)
    if len(groups) != 1:
        return "", ""
    (group,) = groups
    # the split that people look at first
    first = max(inner, key=lambda split: split.lower().startswith("train"))
    command = scan_command(folder / first / group)
    return f"class folders below '{plain(group)}'", command
