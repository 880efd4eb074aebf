"""How many planted near-duplicates and poor pictures a scan finds among photos in class folders.

    python benchmarks/bench_findings.py PHOTOS [--model tiny] [--each 20]

Copies of each kind go into another class; the second half of the photos is darkened or blurred.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.ndimage import uniform_filter1d

from labelsieve.pipeline.scan import scan
from labelsieve.runs.reasons import queues

Planted = dict[str, set[str]]  # kind -> paths below the folder


def crop(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    width, height = image.size
    left = int(rng.uniform(0, width * (1 - share)))
    top = int(rng.uniform(0, height * (1 - share)))
    return image.crop((left, top, left + int(width * share), top + int(height * share)))


def copies(
    image: Image.Image, rng: random.Random
) -> Iterator[tuple[str, Image.Image, int]]:
    """Kind, picture and JPEG quality of each near-duplicate."""
    share = rng.uniform(0.3, 0.8)
    small = (int(image.width * share), int(image.height * share))
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    yield "resized", image.resize(small), 90
    yield "recompressed", image, 20
    yield "brightened", ImageEnhance.Brightness(image).enhance(1.25), 90
    yield "mirrored", mirrored, 90
    yield "mirrored, cropped to 80 %", crop(mirrored, 0.8, rng), 90
    for percent in (90, 70, 50):
        yield f"cropped to {percent} %", crop(image, percent / 100, rng), 90


def spoiled(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    moved = uniform_filter1d(np.asarray(image), 31, axis=1)
    yield "darkened", ImageEnhance.Brightness(image).enhance(0.2)
    yield "blurred by 3 pixels", image.filter(ImageFilter.GaussianBlur(3))
    yield "blurred by 6 pixels", image.filter(ImageFilter.GaussianBlur(6))
    yield "blurred by motion", Image.fromarray(moved)


def plant(photos: Path, folder: Path, each: int, rng: random.Random) -> Planted:
    """Copy the photos, plant, and say where."""
    files = sorted(path for path in photos.glob("*/*") if path.is_file())
    classes = sorted({path.parent.name for path in files})
    rng.shuffle(files)
    half = len(files) // 2
    planted: Planted = {}

    def save(picture: Image.Image, path: Path, kind: str, quality: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "JPEG", quality=quality)
        planted.setdefault(kind, set()).add(path.relative_to(folder).as_posix())

    for number, path in enumerate(files):
        image = Image.open(path).convert("RGB")
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        kinds = list(copies(image, rng)) if number < half else []
        # one kind a photo, so that no copy has another copy beside it
        if kinds and number < each * len(kinds):
            kind, picture, quality = kinds[number % len(kinds)]
            other = rng.choice([c for c in classes if c != path.parent.name])
            save(picture, folder / other / f"copy-{path.stem}.jpg", kind, quality)
        bad = list(spoiled(image)) if number >= half else []
        if bad and number - half < each * len(bad):
            kind, picture = bad[number % len(bad)]
            target.unlink()
            save(picture, target.with_suffix(".jpg"), kind, 90)
    return planted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        planted = plant(words.photos, folder, words.each, random.Random(words.seed))
        run = scan(
            folder, output=Path(scratch) / "run", method="knn", model=words.model
        )
        columns = (run.scores[name].to_pylist() for name in ("sample_id", "path"))
        path_of = dict(zip(*columns, strict=True))
        everything = set().union(*planted.values())
        for queue in queues(run):
            found = {path_of[sample_id] for sample_id in queue.ids}
            print(f"{queue.title}: {len(found)}")
            for kind, paths in planted.items():
                if paths & found:
                    print(f"  {kind}: {len(paths & found)} of {len(paths)}")
            # a picture and its partner are both no news where one of them was planted
            pairs = zip(queue.ids, queue.partners, strict=True)
            new = [
                i
                for i, other in pairs
                if not {path_of[i], path_of.get(other)} & everything
            ]
            print(f"  not planted: {len(new)}")


if __name__ == "__main__":
    main()
