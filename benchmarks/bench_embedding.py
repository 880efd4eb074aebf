"""Embedding a folder of photos with us against what a user would write with transformers, and the
whole command against that and cleanlab after it.

    OMP_NUM_THREADS=1 python benchmarks/bench_embedding.py PHOTOS [--images 60] [--repeats 3]

PHOTOS is a folder with a folder for each class. All sides see the same pictures, in turns, each
time with an empty cache, with the same number of threads; a ViT-B/16 with random weights. Seconds
are those of the processor (all threads, kernel included), as a busy machine leaves them alone.

- embedding: files to features in one space. Theirs: `CLIPImageProcessor` and
  `CLIPModel.get_image_features`, 32 pictures at a time, in float32 as the library loads a
  checkpoint, and in the precision that ours chooses. Ours: reading, hashing, the pixel cache, the
  tower, the feature cache.
- whole: theirs adds scikit-learn's logistic regression out of fold and cleanlab's
  `find_label_issues`, which is one pass of the tower; ours is `labelsieve.scan` with a report,
  by `confident-learning` (one pass) and by default.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shapes import saved
from timing import machine, table

from labelsieve import progress
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.features.task import Task
from labelsieve.models.device import choose_precision
from labelsieve.models.load import load_encoder
from labelsieve.pipeline.scan import scan

AT_ONCE = 32  # pictures, as in most examples of transformers
FOLDS = 5  # of cleanlab's own examples, where each class has as many photos


def chosen(photos: Path, count: int, target: Path) -> list[Path]:
    """Links to `count` photos, as many of each class, in folders of their own."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    files = [sorted(path.iterdir()) for path in classes]
    picked: list[Path] = []
    for place in range(max(map(len, files))):
        for own in files:
            if place < len(own) and len(picked) < count:
                link = target / own[place].parent.name / own[place].name
                link.parent.mkdir(parents=True, exist_ok=True)
                # a copy: links out of a folder are left out of a scan
                link.write_bytes(own[place].read_bytes())
                picked.append(link)
    return sorted(picked)


class Theirs:
    """Processor and model of transformers, loaded once."""

    def __init__(self, model: Path, dtype: torch.dtype) -> None:
        from transformers import AutoImageProcessor, CLIPModel

        self.processor = AutoImageProcessor.from_pretrained(model)
        self.model = CLIPModel.from_pretrained(model, dtype=dtype).eval()

    @torch.no_grad()
    def embed(self, files: list[Path]) -> np.ndarray:
        """[n, d] float32 of length one."""
        parts = []
        for start in range(0, len(files), AT_ONCE):
            pictures = []
            for file in files[start : start + AT_ONCE]:
                with Image.open(file) as picture:
                    pictures.append(picture.convert("RGB"))
            inputs = self.processor(images=pictures, return_tensors="pt")
            pixels = inputs["pixel_values"].to(self.model.dtype)
            found = self.model.get_image_features(pixel_values=pixels)
            # a tensor before transformers 5, an output with it since
            found = getattr(found, "pooler_output", found)
            parts.append(torch.nn.functional.normalize(found.float(), dim=-1))
        return torch.cat(parts).numpy()

    def scan(self, files: list[Path]) -> np.ndarray:
        """[m] rows that cleanlab calls wrong, of a probe out of fold."""
        from cleanlab.filter import find_label_issues
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict

        names = sorted({file.parent.name for file in files})
        labels = np.array([names.index(file.parent.name) for file in files])
        probe = LogisticRegression(max_iter=1000)
        features = self.embed(files)
        folds = min(FOLDS, int(np.bincount(labels).min()))
        answers = cross_val_predict(
            probe, features, labels, cv=folds, method="predict_proba"
        )
        found: np.ndarray = find_label_issues(
            labels, answers, return_indices_ranked_by="self_confidence", n_jobs=1
        )
        return found


def ours(folder: Path, encoder: object, cache: Path) -> np.ndarray:
    """[n, d] in the order of the files."""
    os.environ["LABELSIEVE_CACHE"] = str(cache)
    data = prepare(load(folder), encoder.preprocess).dataset  # type: ignore[attr-defined]
    features = Task(data, encoder).image_features()  # type: ignore[arg-type]
    # ids begin with the path
    order = np.argsort([str(name) for name in data.ids.to_pylist()])
    return np.asarray(features[order], dtype=np.float32)


def spent(run: Callable[[], object]) -> tuple[float, object]:
    """Processor seconds of all threads, and what was found."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def in_turns(
    runs: dict[str, Callable[[int], object]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, object]]:
    """Processor seconds of every repeat of each side, and what each found last."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, object] = {}
    for repeat in range(repeats):
        for name, run in runs.items():
            seconds, found[name] = spent(lambda r=run, i=repeat: r(i))  # type: ignore[misc]
            taken[name].append(seconds)
            print(f"{name}, {repeat + 1}: {seconds:.2f} s", flush=True)
    return taken, found


def rows_of(taken: dict[str, list[float]], count: int) -> list[list[object]]:
    """Medians per 1,000 pictures, their spread, and how many times less than the first side."""
    first = statistics.median(next(iter(taken.values())))
    rows: list[list[object]] = []
    for name, values in taken.items():
        middle = statistics.median(values)
        spread = f"{min(values):.1f} to {max(values):.1f}"
        rows.append(
            [name, middle, spread, 1000 * middle / count, f"{first / middle:.2f}"]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--shape", default="ViT-B/16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="whole commands, too")
    args = parser.parse_args()
    progress.be_quiet()
    dtype = choose_precision("auto", torch.device("cpu"))
    low = str(dtype)[6:]
    head = ["what", "processor s", "least to most", "s per 1,000", "times faster"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = chosen(args.photos, args.images, folder / "photos")
        model = saved(args.shape, folder / "model")
        theirs = Theirs(model, torch.float32)
        lower = Theirs(model, dtype)
        encoders = {
            d: load_encoder(str(model), dtype=d) for d in (torch.float32, dtype)
        }

        def fresh(precision: torch.dtype, number: int) -> np.ndarray:
            cache = folder / f"cache-{precision}-{number}"
            return ours(folder / "photos", encoders[precision], cache)

        # what is done once for all pictures, before the clock starts
        theirs.embed(files[:2])
        lower.embed(files[:2])
        encoders[dtype].image_features(
            encoders[dtype].normalise(encoders[dtype].blank())
        )
        runs: dict[str, Callable[[int], object]] = {
            "transformers, float32": lambda number: theirs.embed(files),
            f"transformers, {low}": lambda number: lower.embed(files),
            "labelsieve, float32": lambda number: fresh(torch.float32, number),
            f"labelsieve, auto ({low})": lambda number: fresh(dtype, number),
        }
        taken, found = in_turns(runs, args.repeats)
        one = f"Embedding {len(files)} photos, {args.shape}. {machine()}"
        table(one, head, rows_of(taken, len(files)))
        exact = found["transformers, float32"]
        for side, features in found.items():
            apart = 1 - np.sum(np.asarray(exact) * np.asarray(features), axis=1)
            print(f"{side}: cosine to the first at least {1 - apart.max():.5f}")
        if args.whole:
            whole(args, files, folder, theirs, head)


def whole(
    args: argparse.Namespace,
    files: list[Path],
    folder: Path,
    theirs: Theirs,
    head: list[str],
) -> None:
    """The table of whole commands; models are loaded before, libraries imported."""

    def command(method: str, number: int) -> object:
        os.environ["LABELSIEVE_CACHE"] = str(folder / f"cache-{method}-{number}")
        return scan(
            folder / "photos",
            output=folder / f"run-{method}-{number}",
            model=str(folder / "model"),
            method=method,
        )

    runs: dict[str, Callable[[int], object]] = {
        "transformers, float32, and cleanlab": lambda number: theirs.scan(files),
        "scan --method confident-learning": lambda n: command("confident-learning", n),
        "scan": lambda number: command("deft", number),
    }
    taken, _ = in_turns(runs, args.repeats)
    one = f"Whole commands, {len(files)} photos, {args.shape}. {machine()}"
    table(one, head, rows_of(taken, len(files)))


if __name__ == "__main__":
    main()
