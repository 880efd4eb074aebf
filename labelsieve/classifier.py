"""The trained model: opened from a directory or the hub, asked for labels, judged against the truth, saved and shared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelsieve import dataset, metrics, models, pipeline, progress, students, tables
from labelsieve.errors import DataError, ImageError, LabelsieveError, OptionError, unknown
from labelsieve.images import decode, from_object, read_bytes
from labelsieve.sources import DataSpec, open_source
from labelsieve.students import Student
from labelsieve.tables import CORRUPT, OK
from labelsieve.training import is_memory_error, reason_of

BATCH = 256
CARD = "README.md"


class Classifier:
    """An image classifier.

    Attributes:
        classes: names, in the order of the probabilities.
        preprocess: how pictures are prepared.
        card: the model card, Markdown.

    Example:
        >>> classifier = Classifier.from_pretrained("run/classifier")  # doctest: +SKIP
        >>> classifier.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self, student: Student, classes: Sequence[str], card: str = "", *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.classes, self.card = list(classes), card
        self.preprocess = student.preprocess
        self.student = student
        self.dtype = dtype
        self.device = next(student.model.parameters()).device

    @classmethod
    def from_pretrained(cls, where: str | Path, *, device: str = "auto", precision: str = "auto") -> Classifier:
        """Open what `labelsieve train` wrote, or any image classifier of transformers, by directory or hub id.

        Raises:
            ModelError: there is none, or it is damaged.
            OptionError: no such device or precision.
        """
        chosen = models.choose_device(device)
        student, classes = students.open_saved(str(where), device=chosen)
        card = Path(where) / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        return cls(student, classes, text, dtype=models.choose_precision(precision, chosen))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration, preprocessing and card."""
        target = Path(folder)
        students.save(self.student, self.classes, target)
        if self.card:
            (target / CARD).write_text(self.card, encoding="utf-8")

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload to the Hugging Face hub; gives the address. Nothing but what `save_pretrained` writes leaves the machine.

        Raises:
            LabelsieveError: no network, not signed in, or not allowed to.
        """
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError

        try:
            huggingface_hub.create_repo(repo_id, private=private, token=token, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="labelsieve-") as folder:
                self.save_pretrained(folder)
                done = huggingface_hub.upload_folder(repo_id=repo_id, folder_path=folder, token=token)
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise LabelsieveError(
                f"'{repo_id}' cannot be uploaded: {reason}.", "Check the network and sign in with hf auth login."
            ) from error
        return str(done)

    def predict_proba(self, images: Sequence[Any], *, batch_size: int = BATCH) -> np.ndarray:
        """[n, k] float32 class probabilities; NaN where a picture cannot be read.

        Args:
            images: paths, encoded bytes, pictures or arrays.
        """
        probs = np.full((len(images), len(self.classes)), np.nan, dtype=np.float32)
        for start in range(0, len(images), batch_size):
            read = {i: self._read(images[i]) for i in range(start, min(start + batch_size, len(images)))}
            rows = [i for i, pixels in read.items() if pixels is not None]
            if rows:
                pixels = torch.from_numpy(np.stack([read[i] for i in rows])).permute(0, 3, 1, 2)  # type: ignore[misc]
                probs[rows] = self.probabilities(pixels)
        return probs

    def predict(self, images: Sequence[Any], *, batch_size: int = BATCH) -> list[str | None]:
        """The most probable class of each picture; None where it cannot be read."""
        if isinstance(images, str | Path):
            raise OptionError(f"predict takes a list of pictures, not '{images}'.", f"Use predict(['{images}']).")
        probs = self.predict_proba(images, batch_size=batch_size)
        return [None if np.isnan(row[0]) else self.classes[int(row.argmax())] for row in probs]

    def probabilities(self, pixels: Tensor) -> np.ndarray:
        """uint8 [b, 3, height, width], resized already -> [b, k] float32.

        Raises:
            LabelsieveError: the device's memory is too small for so many at once.
        """
        with too_much("Try a smaller --batch-size, --precision bfloat16, or --device cpu."):
            return self.logits(pixels).softmax(1).cpu().numpy()

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """As `probabilities`, before the softmax: [b, k] float32 on the model's device."""
        self.student.model.eval()
        inputs = models.normalise(pixels, self.preprocess, self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return students.logits_of(self.student.model, inputs).float()

    def _read(self, item: Any) -> np.ndarray | None:
        try:
            encoded = isinstance(item, bytes | bytearray | memoryview | str | Path)
            picture = decode(read_bytes(item), self.preprocess.about) if encoded else from_object(item)
        except ImageError:
            return None
        return self.preprocess(picture)


@contextmanager
def too_much(help: str) -> Iterator[None]:
    """A device that ran out of memory, as one line that says what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        raise LabelsieveError(f"The memory of the device is too small: {reason_of(error)}.", help) from error


def _open(model: str | Path | Classifier, device: str, precision: str) -> Classifier:
    if isinstance(model, Classifier):
        return model
    return Classifier.from_pretrained(model, device=device, precision=precision)


def predict(
    model: str | Path | Classifier,
    data: Any,
    *,
    output: str | Path | None = None,
    top_k: int = 5,
    batch_size: int = BATCH,
    device: str = "auto",
    precision: str = "auto",
) -> pa.Table:
    """Classify a data set: one row per picture, those that cannot be read included.

    Args:
        model: a `Classifier`, its directory or a hub id.
        data: what `labelsieve.load` takes or gives, or a folder of pictures without classes, or a list of pictures.
            Labels are not looked at.
        output: a .parquet or .csv file to write.
        top_k: how many classes a row names, the most probable first.

    Returns:
        sample_id, path, label, probability, label_2, probability_2, …, status, reason.

    Raises:
        LabelsieveError: what is wrong with model or data, and what to do.
    """
    if top_k < 1 or batch_size < 1:
        raise OptionError(f"--top-k {top_k} and --batch-size {batch_size} are at least 1.")
    if output is not None and Path(output).suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{output}' must end in .parquet or .csv.")
    opened = _open(model, device, precision)
    found = _predictions(opened, replace(pipeline.load(data), labelled=False), top_k, batch_size)
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        (tables.write_parquet if Path(output).suffix == ".parquet" else tables.write_csv)(found, Path(output))
    return found


def _predictions(opened: Classifier, spec: DataSpec, top_k: int, batch_size: int) -> pa.Table:
    cache = dataset.open_cache(opened.preprocess)
    manifest = dataset.read(open_source(spec), opened.preprocess, cache, need_labels=False).table
    slots, status = manifest["slot"].to_numpy(), manifest["status"].to_numpy(zero_copy_only=False)
    usable = np.flatnonzero(status != CORRUPT)
    probs = np.full((len(manifest), len(opened.classes)), np.nan, dtype=np.float32)
    with progress.bar("Classifying", len(usable)) as shown:
        for start in range(0, len(usable), batch_size):
            rows = usable[start : start + batch_size]
            probs[rows] = opened.probabilities(torch.from_numpy(cache.read(slots[rows])).permute(0, 3, 1, 2))
            shown.advance(len(rows))
    columns: dict[str, Any] = {"sample_id": manifest["sample_id"], "path": manifest["path"]}
    order = np.argsort(-probs, axis=1, kind="stable")[:, : min(top_k, len(opened.classes))]
    lost = status == CORRUPT
    names = np.array(opened.classes, dtype=object)
    for place, chosen in enumerate(order.T, 1):
        suffix = "" if place == 1 else f"_{place}"
        columns[f"label{suffix}"] = pa.array(names[chosen], pa.string(), mask=lost)
        columns[f"probability{suffix}"] = pa.array(probs[np.arange(len(probs)), chosen], pa.float32(), mask=lost)
    columns["status"] = pa.array(np.where(lost, CORRUPT, OK), pa.string())
    columns["reason"] = pa.array(np.where(lost, manifest["reason"].to_numpy(zero_copy_only=False), ""), pa.string())
    return pa.table(columns).sort_by("sample_id")


def evaluate(
    model: str | Path | Classifier,
    data: Any,
    *,
    truth_column: str | None = None,
    batch_size: int = BATCH,
    device: str = "auto",
    precision: str = "auto",
) -> dict[str, Any]:
    """Judge a model against true labels.

    Args:
        model, data, batch_size, device, precision: as in `predict`.
        truth_column: of true labels; without it the data's labels are the truth.

    Returns:
        images, unreadable, classes, accuracy, per_class, calibration_error, confusion (rows true, columns predicted).

    Raises:
        LabelsieveError: what is wrong with model or data, and what to do; also a label that the model does not know.
    """
    spec = pipeline.load(data)
    truth = truth_column or spec.truth_column
    if truth is not None:
        spec = replace(spec, label_column=truth, truth_column=None)
    opened = _open(model, device, precision)
    cache = dataset.open_cache(opened.preprocess)
    manifest = dataset.read(open_source(spec), opened.preprocess, cache).table
    _check_known(manifest, opened.classes)
    images = dataset.with_classes(manifest, opened.classes, opened.classes, spec.template, opened.preprocess, cache)
    probs = np.empty((len(images), len(opened.classes)), dtype=np.float32)
    with progress.bar("Classifying", len(images)) as shown:
        for start in range(0, len(images), batch_size):
            rows = np.arange(start, min(start + batch_size, len(images)))
            probs[rows] = opened.probabilities(images.pixels(rows))
            shown.advance(len(rows))
    found = metrics.classification(probs, images.labels)
    unreadable = int((manifest["status"].to_numpy(zero_copy_only=False) == CORRUPT).sum())
    return {"images": len(images), "unreadable": unreadable, "classes": opened.classes, **found}


def _check_known(manifest: pa.Table, classes: Sequence[str]) -> None:
    for label in manifest["given_label"].unique().to_pylist():
        if label is not None and label not in classes:
            raise DataError(unknown("Label", label, classes), "The model knows only the classes it was trained on.")
