"""The demonstration: pictures or texts with errors, so that everybody can see what a scan does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from labelsieve import registry, tables
from labelsieve.data.load import load
from labelsieve.errors import DataError, OptionError, unknown
from labelsieve.files import locked
from labelsieve.models.load import WORDS as READS
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run

# A model that reads knows words better than digits.
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# In the order of their numbers on the hub, spelled as CIFAR-10's own file has them.
CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SEED = 0
# As many wrong labels as in the worst of well-known data sets, so that there is much to see.
RATE = 0.2
# What texts are put together from: sentences of ours, in four parts a topic.
SENTENCES = Path(__file__).parent.parent / "assets" / "demo_texts.json"
TEXTS = 1_000
STRAYING = (
    0.5  # share that also says something of another topic: else no errors were missed
)
BRIGHTEST = 16  # scikit-learn's digits have this many levels of grey


def run(data: str, output: Path, *, force: bool = False) -> Run:
    """Make the data below `output` and scan them.

    Args:
        data: "digits": scikit-learn's handwritten digits (bundled, no download) with planted
            errors; "texts": notes on five topics, put together from sentences of ours, with
            planted errors (no download); "cifar10n": CIFAR-10 with human labels, fetched from
            the hub.

    Raises:
        OptionError: other data.
        DataError: no network for data that need one.
    """
    if data not in DEMOS:
        raise OptionError(unknown("--data", data, DEMOS))
    demo = DEMOS[data]
    # beside the run, so that corrections can be written back to it
    table = output / f"{data}.parquet"
    # two demos at once would write it twice, and the second under the first's reader
    with locked(table, f"'{table}'"):
        if not table.exists():
            tables.write_parquet(demo.make(), table)
    spec = load(
        table,
        label_column=demo.label,
        truth_column="true_label",
        id_column="id",
        template=demo.template,
        image_column=demo.image,
        text_column=demo.text,
    )
    model = demo.model
    return scan(spec, output=output / "run", force=force, model=model)


def digits(rate: float = RATE, seed: int = SEED) -> pa.Table:
    """1,797 handwritten digits as PNG, named in words, some of them wrongly.

    Args:
        rate: share of symmetric errors that are planted.
    """
    # takes a second to load, which other commands can spare
    from sklearn.datasets import load_digits

    bundle = load_digits()
    truth = bundle.target.astype(np.int64)
    generator = registry.load("noise/generators", "symmetric")
    planted = generator.corrupt(truth, 10, rate, np.random.default_rng(seed))
    grey = (bundle.images * 255 / BRIGHTEST).astype(np.uint8)
    return pa.table(
        {
            "id": [f"digit-{i:04d}" for i in range(len(truth))],
            "image": [_png(pixels) for pixels in grey],
            "planted_label": [WORDS[k] for k in planted],
            "true_label": [WORDS[k] for k in truth],
        }
    )


def texts(rate: float = RATE, seed: int = SEED) -> pa.Table:
    """1,000 notes on five topics, some of them under a wrong one.

    Args:
        rate: share of symmetric errors that are planted.
    """
    topics = json.loads(SENTENCES.read_text(encoding="utf-8"))["topics"]
    names = sorted(topics)
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(names), size=TEXTS)
    generator = registry.load("noise/generators", "symmetric")
    planted = generator.corrupt(truth, len(names), rate, rng)
    notes = []
    for k in truth:
        other = (k + rng.integers(1, len(names))) % len(names)
        notes.append(_note(topics[names[k]], topics[names[other]], rng))
    return pa.table(
        {
            "id": [f"note-{i:04d}" for i in range(TEXTS)],
            "text": notes,
            "planted_label": [names[k] for k in planted],
            "true_label": [names[k] for k in truth],
        }
    )


def _note(
    topic: dict[str, list[str]], other: dict[str, list[str]], rng: np.random.Generator
) -> str:
    """A sentence of three parts and one that follows, some with one of another topic."""
    who, does, how = (str(rng.choice(topic[part])) for part in ("who", "does", "with"))
    parts = [f"{who} {does} {how}.", str(rng.choice(topic["adds"]))]
    if rng.random() < STRAYING:
        parts.append(str(rng.choice(other["adds"])))
    return " ".join(parts)


def cifar10n() -> pa.Table:
    """CIFAR-10's training images with the labels of CIFAR-10N (Wei et al., ICLR 2022).

    Raises:
        DataError: they cannot be fetched from the hub.
    """
    datasets = registry.need("datasets")

    try:
        images = datasets.load_dataset("uoft-cs/cifar10", split="train")
        labels = datasets.load_dataset(
            "UCSC-REAL/cifar-10-100n", "cifar10n", split="train"
        )
    # no network, offline mode, moved data set: the library raises many kinds
    except Exception as error:
        # some of its messages are a page of HTML
        reason = str(error).partition("\n")[0][:200]
        raise DataError(
            f"CIFAR-10N cannot be fetched: {reason}",
            "It needs a network; 'labelsieve demo' alone does not.",
        ) from error
    return pa.table(
        {
            "id": [f"cifar-{i:05d}" for i in range(len(images))],
            "image": [_png(np.asarray(image)) for image in images["img"]],
            "worse_label": [CIFAR10[k] for k in labels["worse_label"]],
            "true_label": [CIFAR10[k] for k in images["label"]],
        }
    )


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class Demo:
    """Data of the demonstration: how they are made, and what is scanned."""

    make: Callable[[], pa.Table]
    label: str  # column with errors
    template: str
    image: str | None = "image"  # column of what is judged, of one of two kinds
    text: str | None = None
    # Texts are read by the embedded model even where a better one is at hand: the demo is the
    # same everywhere.
    model: str = "auto"


DEMOS = {
    "digits": Demo(digits, "planted_label", "a handwritten digit {}."),
    "texts": Demo(texts, "planted_label", "A note about {}.", None, "text", READS),
    "cifar10n": Demo(cifar10n, "worse_label", "a photo of a {}."),
}
