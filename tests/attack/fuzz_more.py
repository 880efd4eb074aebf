"""Mutated pictures, answers of audits, receipts of exports, half copies, models and classifiers.

The kinds of `attack.fuzz` that came last. None of them may end in a traceback or a hang, and a
receipt that is damaged may not let an export replace what somebody else wrote.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from attack.mutations import clean, command, mutate, mutated_json, words
from attack.samples import TINY, write_digits

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "ICO", "PPM", "TGA", "PCX")
AUTO = ("--policy", "auto", "--min-confidence", "0.3")
ZERO_SHOT = ("--method", "zero-shot", "-q", "--force")


def prepare(work: Path, run: Callable[..., object]) -> None:
    """Questions of an audit with answers, an export, half a copy, a model, a classifier."""
    questions = work / "questions.csv"
    run("audit", work / "audited", "--export", questions)
    head, *rows = questions.read_text(encoding="utf-8-sig").splitlines()
    answered = [row.removesuffix(",,") + ",right," for row in rows]
    (work / "answers.csv").write_text("\n".join([head, *answered]) + "\n")
    questions.unlink()
    shutil.copytree(TINY, work / "model")
    # the run knows the data as they were scanned
    shutil.rmtree(work / "data")
    shutil.copytree(work.parent / "stages" / "clean", work / "data", symlinks=True)
    run("train", work / "run", "-o", work / "learned", "--set", "epochs=1", "-q")
    write_digits(work / "few", 4)


# --- pictures


def picture_case(base: Path, draw: random.Random) -> None:
    """A picture whose header, tags, texts or pixels were changed."""
    from labelsieve.data.images import decode, preview
    from labelsieve.errors import ImageError

    data = mutate(_picture(base, draw), base, draw)
    for read in (lambda: decode(data), lambda: preview(data, 16)):
        try:
            size = read().size
            assert size[0] * size[1] > 0
        except ImageError as error:
            assert str(error) and "\n" not in str(error), repr(str(error))


def _picture(base: Path, draw: random.Random) -> bytes:
    kind = draw.choice(FORMATS)
    pixels = np.random.default_rng(draw.randrange(9)).integers(
        0, 255, (16, 16, 3), "u1"
    )
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = draw.randrange(10)
    exif[0x010E] = clean(words(base, draw))[:5_000].replace("\0", "")
    buffer = io.BytesIO()
    options = {"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    data = buffer.getvalue()
    if kind != "PNG":
        return data
    name = draw.choice([b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf", b"tRNS", b"acTL"])
    text = zlib.compress(words(base, draw).encode("utf-8", "surrogatepass"))
    content = (
        draw.choice([b"k\0\0", b"k\0\1\0\0\0", b"XML:com.adobe.xmp\0\1\0\0\0"]) + text
    )
    chunk = struct.pack(">I", len(content)) + name + content
    chunk += struct.pack(">I", zlib.crc32(name + content))
    place = draw.choice([33, len(data) - 12])
    return data[:place] + chunk + data[place:]


# --- what comes back from people, and what lies beside exports and copies


def answers_case(base: Path, draw: random.Random) -> None:
    """Answers of an audit, edited in a spreadsheet of somebody else."""
    run = _fresh(base, "audited")
    file = base / "work" / "mutated-answers.csv"
    data = (base / "work" / "answers.csv").read_bytes()
    if draw.random() < 0.5:
        data = mutate(data, base, draw)
    else:
        rows = [row.split(",") for row in data.decode().splitlines()]
        for _ in range(draw.choice([1, 3])):
            row = draw.choice(rows)
            row[draw.randrange(len(row))] = words(base, draw)
        text = "\n".join(map(",".join, rows))
        data = text.encode("utf-8", "surrogatepass")
    file.write_bytes(data)
    if draw.random() < 0.7:
        command("audit", run, "--import", file, "--by", "me")
    else:
        command("audit", run, "--export", file)
    command("certify", run)


def receipt_case(base: Path, draw: random.Random) -> None:
    """What the user's state folder says of an export was damaged, or the export was changed."""
    work = base / "work"
    os.environ["LABELSIEVE_STATE"] = str(work / "state")
    for path in (work / "state", work / "out"):
        shutil.rmtree(path, ignore_errors=True)
    again = ("export", work / "run", "--to", "yolo", "-o", work / "out")
    command(*again)
    mine = work / "out" / "mine.txt"
    mine.write_text("mine")
    receipt = next((work / "state" / "exports").iterdir())
    if draw.random() < 0.3:
        receipt.write_bytes(mutate(receipt.read_bytes(), base, draw))
    else:
        content = json.loads(receipt.read_text())
        for _ in range(draw.choice([1, 3])):
            content = mutated_json(content, base, draw)
        receipt.write_text(json.dumps(content))
    command(*again)
    if mine.read_text() != "mine":
        raise ValueError("an export replaced what somebody else wrote")
    mine.unlink()
    files = sorted(path for path in (work / "out").rglob("*") if path.is_file())
    changed = draw.choice(files)
    changed.write_bytes(mutate(changed.read_bytes(), base, draw))
    command(*again, *draw.choice([(), ("--force",)]))


def copy_case(base: Path, draw: random.Random) -> None:
    """What an interrupted copy left behind was damaged; the copy must be as the data say."""
    work = base / "work"
    for name in ("copy", ".copy.labelsieve-partial"):
        shutil.rmtree(work / name, ignore_errors=True)
    shutil.rmtree(work / "data", ignore_errors=True)
    shutil.copytree(base / "stages" / "clean", work / "data", symlinks=True)
    apply = ("apply", work / "run", *AUTO, "-o", work / "copy", "--copy")
    command(*apply)
    right = _pictures(work / "copy")
    half = work / ".copy.labelsieve-partial"
    (work / "copy").rename(half)
    record = next((half / ".labelsieve").glob("applied-*"))
    wanted = record.stem.removeprefix("applied-")
    (half / ".labelsieve" / "copying").write_text(wanted)
    for _ in range(draw.choice([1, 4])):
        file = draw.choice(sorted(p for p in half.rglob("*") if p.is_file()))
        if draw.random() < 0.3:
            file = file.with_name(
                clean(words(base, draw))[:50].replace("/", "_") or "x"
            )
        if "\0" not in str(file) and not file.is_dir():
            file.write_bytes(mutate(b"x" * 100, base, draw))
    command(*apply)
    if _pictures(work / "copy") != right:
        raise ValueError("a damaged half copy was believed")


def _pictures(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    shown = (path for path in files if ".labelsieve" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in shown}


def _fresh(base: Path, name: str) -> Path:
    copy = base / "work" / "mutated-run"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(base / "work" / name, copy)
    return copy


# --- models


def model_case(base: Path, draw: random.Random) -> None:
    """A model folder of somebody else: configuration, tokenizer, weights."""
    _folder_case(
        base,
        draw,
        "model",
        lambda folder: (
            "scan",
            base / "work" / "few",
            "-o",
            base / "work" / "by-model",
            "--model",
            folder,
            *ZERO_SHOT,
        ),
    )


def classifier_case(base: Path, draw: random.Random) -> None:
    """A classifier of somebody else."""
    _folder_case(
        base,
        draw,
        "learned",
        lambda folder: (
            "predict",
            folder,
            base / "work" / "few",
            "-o",
            base / "work" / "said.csv",
        ),
    )


def _folder_case(
    base: Path,
    draw: random.Random,
    name: str,
    verb: Callable[[Path], tuple[object, ...]],
) -> None:
    folder = base / "work" / f"mutated-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base / "work" / name, folder)
    file = draw.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    if file.suffix == ".json" and draw.random() < 0.7:
        content = json.loads(file.read_text())
        for _ in range(draw.choice([1, 3])):
            content = mutated_json(content, base, draw)
        file.write_text(json.dumps(content))
    elif file.suffix == ".safetensors":
        data = file.read_bytes()
        # the head, which says what is where; bits of numbers are `attack.flip`'s
        end = 8 + int.from_bytes(data[:8], "little")
        file.write_bytes(mutate(data[:end], base, draw) + data[end:])
    else:
        file.write_bytes(mutate(file.read_bytes(), base, draw))
    command(*verb(folder))


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "pictures": picture_case,
    "answers": answers_case,
    "receipts": receipt_case,
    "copies": copy_case,
    "models": model_case,
    "classifiers": classifier_case,
}
