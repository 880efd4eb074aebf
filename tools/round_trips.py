"""Round trips with the tools that formats belong to: made by them, corrected, opened again, undone.

    make round-trips
    python tools/round_trips.py --tools .venv-tools/bin/python

The tools have an environment of their own, whose Python writes the data and reads them again; here
they are scanned with the embedded model, one label is corrected in place, and taken back. What the
tool reads may differ in that one label, and after the way back no byte may differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import labelsieve
from labelsieve.corrections import write_back
from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.errors import LabelsieveError
from labelsieve.tables import CORRECTIONS

# Sixteen pictures of two coloured halves, and what is in them; the same for every tool.
COMMON = """
import json, pathlib, sys
import numpy as np
from PIL import Image
folder = pathlib.Path(sys.argv[1])
CLASSES = ["blue", "green", "red"]
COLOURS = {"blue": (20, 20, 220), "green": (20, 200, 20), "red": (220, 20, 20)}
def pictures(below):
    below.mkdir(parents=True, exist_ok=True)
    for n in range(16):
        pixels = np.full((32, 32, 3), 255, np.uint8)
        for half in (0, 1):
            shade = np.array(COLOURS[label(n, half)]) - n
            pixels[4:28, 16 * half : 16 * half + 14] = shade.clip(0, 255)
        Image.fromarray(pixels).save(below / f"p{n:02d}.png")
def label(n, half=0):
    return CLASSES[(n + half) % 3]
def box(half):
    return [16 * half, 4, 14, 24]
def coco():
    anns = [
        {"id": 10 * n + h + 1, "image_id": n + 1,
         "category_id": 3 * CLASSES.index(label(n, h)) + 5,
         "bbox": box(h), "area": 14 * 24, "iscrowd": 0, "segmentation": []}
        for n in range(16) for h in (0, 1)
    ]
    return {
        "images": [
            {"id": n + 1, "file_name": f"p{n:02d}.png", "width": 32, "height": 32}
            for n in range(16)
        ],
        "annotations": anns,
        "categories": [{"id": 3 * k + 5, "name": c} for k, c in enumerate(CLASSES)],
    }
"""
DATUMARO = """
import datumaro as dm
def items():
    for n in range(16):
        boxes = [dm.Bbox(*box(h), label=CLASSES.index(label(n, h))) for h in (0, 1)]
        file = folder.parent / "made" / f"p{n:02d}.png"
        yield dm.DatasetItem(id=f"p{n:02d}", subset="train" if n < 12 else "val",
            media=dm.Image.from_file(path=str(file)), annotations=boxes)
def make(kind):
    pictures(folder.parent / "made")
    data = dm.Dataset.from_iterable(list(items()), categories=CLASSES)
    data.export(str(folder), kind, save_media=True)
def read(kind):
    data = dm.Dataset.import_from(str(folder), kind)
    names = [c.name for c in data.categories()[dm.AnnotationType.label]]
    found = {}
    for item in data:
        kept = [a for a in item.annotations if a.type == dm.AnnotationType.bbox]
        boxes = sorted((a.points[0], names[a.label]) for a in kept)
        found.update({f"{item.id} {n}": name for n, (_, name) in enumerate(boxes)})
    print(json.dumps(found))
"""


PYCOCO_MAKE = """
pictures(folder / "images")
(folder / "c.json").write_text(json.dumps(coco()))
"""
PYCOCO_READ = """
import contextlib, io
from pycocotools.coco import COCO
with contextlib.redirect_stdout(io.StringIO()):
    data = COCO(str(folder / "c.json"))
names = {key: data.cats[a["category_id"]]["name"] for key, a in data.anns.items()}
print(json.dumps(names))
"""
WEBDATASET_MAKE = """
import webdataset as wds
pictures(folder.parent / "made")
with wds.ShardWriter(str(folder / "s-%03d.tar"), maxcount=8, verbose=0) as out:
    for n in range(16):
        data = (folder.parent / "made" / f"p{n:02d}.png").read_bytes()
        out.write({"__key__": f"p{n:02d}", "png": data, "txt": label(n), "json": {"n": n}})
"""
WEBDATASET_READ = """
import webdataset as wds
shards = sorted(str(p) for p in folder.glob("*.tar"))
data = wds.WebDataset(shards, shardshuffle=False).decode()
print(json.dumps({sample["__key__"]: sample["txt"] for sample in data}))
"""
STUDIO_MAKE = """
from label_studio_sdk.converter.imports.coco import convert_coco_to_ls
pictures(folder / "pics")
(folder / "c.json").write_text(json.dumps(coco()))
convert_coco_to_ls(str(folder / "c.json"), str(folder / "ls.json"), out_type="annotations",
    image_root_url="/data/local-files/?d=")
"""
STUDIO_READ = """
import contextlib, io
from label_studio_sdk.converter import Converter
tags = "".join(f'<Label value="{c}"/>' for c in CLASSES)
config = (f'<View><Image name="image" value="$image"/>'
    f'<RectangleLabels name="label" toName="image">{tags}</RectangleLabels></View>')
tasks = json.loads((folder / "ls.json").read_text())
for n, task in enumerate(tasks):
    task.setdefault("id", n)
given, out = folder.parent / "in.json", folder.parent / "converted"
given.write_text(json.dumps(tasks))
with contextlib.redirect_stdout(io.StringIO()):
    converter = Converter(config, str(folder), download_resources=False)
    converter.convert_to_json(str(given), str(out), is_dir=False)
found = {}
for n, entry in enumerate(json.loads((out / "result.json").read_text())):
    answers = [r["value"] for a in entry["annotations"] for r in a["result"]]
    found.update({f"{n} {m}": a["rectanglelabels"][0] for m, a in enumerate(answers)})
print(json.dumps(found))
"""
ULTRALYTICS = """
import os
os.environ["YOLO_CONFIG_DIR"] = str(folder.parent / "config")
os.makedirs(os.environ["YOLO_CONFIG_DIR"], exist_ok=True)
os.environ["YOLO_VERBOSE"] = "False"
import contextlib, io, shutil
def quietly(work):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return work()
def checked():
    from ultralytics.data.utils import check_det_dataset
    return check_det_dataset(str(folder / "data.yaml"), autodownload=False)
"""
ULTRALYTICS_MAKE = """
from ultralytics.data.converter import convert_coco
content = coco()
# its converter takes an id less one for the number of the class
for category in content["categories"]:
    category["id"] = (category["id"] - 5) // 3 + 1
for annotation in content["annotations"]:
    annotation["category_id"] = (annotation["category_id"] - 5) // 3 + 1
(folder.parent / "coco").mkdir()
(folder.parent / "coco" / "train.json").write_text(json.dumps(content))
made = folder.parent / "made"
quietly(lambda: convert_coco(str(folder.parent / "coco"), str(made), cls91to80=False))
pictures(folder / "images" / "train")
shutil.copytree(made / "labels" / "train", folder / "labels" / "train")
names = "".join(f"  {n}: {name}\\n" for n, name in enumerate(CLASSES))
(folder / "data.yaml").write_text(f"train: images/train\\nval: images/train\\nnames:\\n{names}")
"""
ULTRALYTICS_READ = """
from ultralytics.data.dataset import YOLODataset
def work():
    data = checked()
    return data, YOLODataset(img_path=data["train"], data=data, task="detect", augment=False)
data, dataset = quietly(work)
# it keeps what it read beside the labels
for cache in folder.rglob("*.cache"):
    cache.unlink()
found = {}
for entry in dataset.labels:
    order = sorted((float(b[0]), int(c[0])) for b, c in zip(entry["bboxes"], entry["cls"]))
    name = pathlib.Path(entry["im_file"]).name
    found.update({f"{name} {n}": data["names"][c] for n, (_, c) in enumerate(order)})
print(json.dumps(found))
"""
# Exporters and importers of FiftyOne; only its own database needs MongoDB.
FIFTYONE = """
import contextlib, io
import fiftyone as fo
import fiftyone.types as fot
import fiftyone.utils.coco as fouc
import fiftyone.utils.cvat as fouv
import fiftyone.utils.data as fod
import fiftyone.utils.yolo as fouy
def detections(n):
    boxes = []
    for half in (0, 1):
        x, y, w, h = (side / 32 for side in box(half))
        boxes.append(fo.Detection(label=label(n, half), bounding_box=[x, y, w, h]))
    return fo.Detections(detections=boxes)
def make(exporter, what):
    pictures(folder.parent / "made")
    with contextlib.redirect_stdout(io.StringIO()), exporter:
        for n in range(16):
            file = str(folder.parent / "made" / f"p{n:02d}.png")
            about = fo.ImageMetadata.build_for(file)
            exporter.export_sample(file, what(n), metadata=about)
def read(importer):
    found = {}
    with contextlib.redirect_stdout(io.StringIO()), importer:
        for path, _, labels in importer:
            labels = labels.get("detections", labels) if isinstance(labels, dict) else labels
            kept = getattr(labels, "detections", None)
            names = [labels.label]  if kept is None else [
                d.label for d in sorted(kept, key=lambda d: d.bounding_box[0])]
            stem = pathlib.Path(path).stem
            found.update({f"{stem} {n}": name for n, name in enumerate(names)})
    print(json.dumps(found))
"""


@dataclass(frozen=True)
class Trip:
    """One format of one tool.

    Attributes:
        needs: the module of the tool.
        make, read: programs of the tool's Python; `read` prints JSON, what -> label.
        data: what is scanned, below the folder.
        options: of `labelsieve.load`; a root is below the folder.
    """

    name: str
    needs: str
    make: str
    read: str
    data: str = ""
    root: str = ""


def _datumaro(name: str, writes: str, reads: str) -> Trip:
    make, read = f"{DATUMARO}\nmake('{writes}')", f"{DATUMARO}\nread('{reads}')"
    return Trip(name, "datumaro", make, read)


def _fiftyone(name: str, writer: str, reader: str, what: str = "detections") -> Trip:
    make, read = f"make({writer}, {what})", f"read({reader})"
    called = f"{name}, FiftyOne's exporter and importer"
    return Trip(called, "fiftyone", f"{FIFTYONE}\n{make}", f"{FIFTYONE}\n{read}")


TRIPS = (
    Trip("COCO, pycocotools", "pycocotools", PYCOCO_MAKE, PYCOCO_READ, "c.json"),
    Trip("WebDataset", "webdataset", WEBDATASET_MAKE, WEBDATASET_READ),
    Trip(
        "Label Studio, label_studio_sdk's converter",
        "label_studio_sdk",
        STUDIO_MAKE,
        STUDIO_READ,
        "ls.json",
        "pics",
    ),
    _datumaro("COCO, Datumaro", "coco_instances", "coco_instances"),
    _datumaro("CVAT for images, Datumaro", "cvat", "cvat"),
    Trip(
        "YOLO, ultralytics' converter and data set",
        "ultralytics",
        ULTRALYTICS + ULTRALYTICS_MAKE,
        ULTRALYTICS + ULTRALYTICS_READ,
    ),
    _fiftyone(
        "class folders",
        "fod.ImageClassificationDirectoryTreeExporter(export_dir=str(folder))",
        "fod.ImageClassificationDirectoryTreeImporter(dataset_dir=str(folder))",
        "lambda n: fo.Classification(label=label(n))",
    ),
    _fiftyone(
        "COCO",
        "fouc.COCODetectionDatasetExporter(export_dir=str(folder), classes=CLASSES)",
        "fouc.COCODetectionDatasetImporter(dataset_dir=str(folder))",
    ),
    _fiftyone(
        "CVAT for images",
        "fouv.CVATImageDatasetExporter(export_dir=str(folder))",
        "fouv.CVATImageDatasetImporter(dataset_dir=str(folder))",
    ),
    _fiftyone(
        "YOLO",
        "fouy.YOLOv5DatasetExporter(export_dir=str(folder), split='train', classes=CLASSES)",
        "fouy.YOLOv5DatasetImporter(dataset_dir=str(folder), split='train')",
    ),
    _datumaro(
        "YOLO in the layout of ultralytics, Datumaro", "yolo_ultralytics", "yolo"
    ),
)


def main() -> None:
    """Every trip; the exit code is the number of those that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tools", default=sys.executable, help="Python with the tools")
    parser.add_argument("--only", default="", help="trips with this in their name")
    words = parser.parse_args()
    failed = 0
    for trip in TRIPS:
        if words.only.lower() not in trip.name.lower():
            continue
        with tempfile.TemporaryDirectory(prefix="labelsieve-trip-") as scratch:
            try:
                said = travel(trip, words.tools, Path(scratch))
            # whatever a tool or labelsieve says: the other trips are made all the same
            except (AssertionError, LabelsieveError, RuntimeError) as error:
                said, failed = f"FAILED: {error}", failed + 1
        print(f"{trip.name}: {said}", flush=True)
    sys.exit(failed)


def travel(trip: Trip, python: str, scratch: Path) -> str:
    """There and back; raises AssertionError where something else changed than what should."""
    if subprocess.run(
        [python, "-c", f"import {trip.needs}"], capture_output=True
    ).returncode:
        return f"skipped, {trip.needs} is not installed"
    folder = scratch / "set"
    folder.mkdir()
    run(python, trip.make, folder)
    before, bytes_before = run(python, trip.read, folder), content(folder)
    root = folder / trip.root if trip.root else None
    spec = load(str(folder / trip.data), root=None if root is None else str(root))
    scanned = labelsieve.scan(spec, output=scratch / "run", method="knn", model="tiny")
    assert scanned.finished
    rows = list(open_source(spec).rows())
    assert len(rows) == len(before), f"{len(rows)} rows, and the tool has {len(before)}"
    row = rows[3]
    new = next(c for c in ("blue", "green", "red") if c != row.label)
    change = correction(row, new, scanned)
    write_back.in_place(spec, change)
    after = run(python, trip.read, folder)
    changed = {
        key: (before[key], after.get(key))
        for key in before
        if before[key] != after.get(key)
    }
    assert list(changed.values()) == [(row.label, new)] and len(after) == len(before), (
        changed
    )
    write_back.reverse(spec, change)
    assert content(folder) == bytes_before, "the way back left other bytes"
    return f"{len(before)} labels, one corrected and read so, back to the byte"


def run(python: str, program: str, folder: Path) -> dict[str, Any]:
    """What a program of the tool prints as JSON; raises RuntimeError with its last line."""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", f"{COMMON}\n{program}", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1:])
    lines = done.stdout.strip().splitlines()
    return dict(json.loads(lines[-1])) if lines and lines[-1].startswith("{") else {}


def correction(row: Any, label: str, scanned: labelsieve.Run) -> pa.Table:
    """A patch of one row, as a person's decision makes it."""
    ids = scanned.manifest["sample_id"].to_pylist()
    uris = scanned.manifest["uri"].to_pylist()
    about = {name: None for name in CORRECTIONS.names}
    about |= {"sample_id": ids[uris.index(row.uri)], "uri": row.uri, "path": row.path}
    about |= {
        "action": "relabel",
        "old_label": row.label,
        "new_label": label,
        "reason": "a trip",
    }
    return pa.Table.from_pylist([about], CORRECTIONS)


def content(folder: Path) -> dict[str, bytes]:
    """All files of the data, without their history."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and ".labelsieve" not in file.parts:
            files[file.relative_to(folder).as_posix()] = file.read_bytes()
    return files


if __name__ == "__main__":
    main()
