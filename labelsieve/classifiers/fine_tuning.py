"""Fine-tuning a student: its loss, what each image weighs, validation after every epoch,
and the epoch that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from labelsieve.classifiers import backbone
from labelsieve.classifiers.backbone import Student
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.training_set import TRAIN, VALIDATION
from labelsieve.data.augment import crop_and_mirror
from labelsieve.data.dataset import Dataset
from labelsieve.errors import LabelsieveError, OptionError
from labelsieve.estimation import metrics, mixture
from labelsieve.models import encoder
from labelsieve.training import losses
from labelsieve.training.checkpoint import Checkpoint
from labelsieve.training.loop import Batch, Recipe, fit, is_memory_error

BATCH = 256
LOOK_AT = 512  # pictures whose features scale a head that begins with texts


@dataclass(frozen=True)
class Settings:
    """How a student is trained; the recipe of its family comes first, then what the user sets."""

    epochs: int = 10
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 5e-4
    head_lr: float | None = None  # auto: as lr
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "smooth", "constant"] = "cosine"
    clip: float | None = None  # largest norm of the gradient
    accumulate: int = 1  # parts a batch is computed in, to save memory
    checkpointing: bool = (
        False  # compute activations again for the gradient, to save memory
    )
    tune: Literal["blocks", "all", "head"] | None = (
        None  # auto: blocks of a tower (the paper), else all
    )
    head_start: Literal["random", "text"] = (
        "random"  # text: the head begins as the zero-shot classifier
    )
    mirror: bool | None = None  # auto: as the scan did
    crop: float = (
        0.7  # least share of a picture that a random crop keeps; 1 does not crop
    )
    # of the clean images, kept aside to choose the epoch on; 0: none, the last epoch is kept
    val_share: float = 0.1
    keep: Literal["chosen", "last", "both"] = (
        "chosen"  # which epoch is saved; both: the last one in a folder below
    )
    patience: int | None = (
        None  # stop after so many epochs without a better one; auto: never
    )
    warmup_epochs: int = 1  # use=gmm: epochs that trust every label
    sce_alpha: float = (
        1.0  # loss=sce; the defaults of these five are those of DeFT's code
    )
    sce_beta: float = 1.0
    elr_momentum: float = 0.3  # loss=elr
    elr_strength: float = 5.0
    gce_q: float = 0.7  # loss=gce

    def __post_init__(self) -> None:
        within = {
            "crop": (0.01, 1),
            "val_share": (0, 0.5),
            "gce_q": (1e-6, 1),
            "elr_momentum": (0, 1),
            "warmup_epochs": (0, None),
            "sce_alpha": (0, None),
            "sce_beta": (0, None),
            "elr_strength": (0, None),
            "patience": (1, None),
            "head_lr": (0, None),
            "clip": (1e-12, None),
        }
        for name, (low, high) in within.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= (
                float("inf") if high is None else high
            ):
                bounds = (
                    f"at least {low}" if high is None else f"between {low} and {high}"
                )
                raise OptionError(
                    f"Setting {name} cannot be {value}.", f"It is {bounds}."
                )
        self.recipe()  # refuses numbers that cannot be

    def recipe(self) -> Recipe:
        """How it is optimised."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            accumulate=self.accumulate,
            clip=self.clip,
        )


Loss = Callable[
    [Tensor, Tensor, np.ndarray], Tensor
]  # logits [b, k], labels [b], row numbers [b] -> [b]


def _sce(settings: Settings, memory: dict[str, Tensor]) -> Loss:
    return lambda logits, labels, rows: losses.symmetric_cross_entropy(
        logits, labels, settings.sce_alpha, settings.sce_beta
    )


def _elr(settings: Settings, memory: dict[str, Tensor]) -> Loss:
    """Keeps one row of targets per image, in `memory`, from zero on."""

    def loss(logits: Tensor, labels: Tensor, rows: np.ndarray) -> Tensor:
        targets = losses.early_targets(
            memory["elr"][rows].to(logits.device), logits, settings.elr_momentum
        )
        memory["elr"][rows] = targets.to(memory["elr"].device)
        return losses.early_learning(logits, labels, targets, settings.elr_strength)

    return loss


LOSSES: dict[str, Callable[[Settings, dict[str, Tensor]], Loss]] = {
    "ce": lambda settings, memory: (
        lambda logits, labels, rows: losses.cross_entropy(logits, labels)
    ),
    "sce": _sce,
    "elr": _elr,
    "gce": lambda settings, memory: (
        lambda logits, labels, rows: losses.generalized_cross_entropy(
            logits, labels, settings.gce_q
        )
    ),
    "mae": lambda settings, memory: (
        lambda logits, labels, rows: losses.mean_absolute_error(logits, labels)
    ),
}


class Fitting:
    """One training of one student.

    Args:
        images: of the run, prepared for the student.
        chosen: labels, weights and parts by sample id (`labelsieve.classifiers.training_set`).
        loss: a name of `LOSSES`.
        divides: select samples by a mixture of two Gaussians on their losses before each
            epoch (use=gmm).
    """

    def __init__(
        self,
        student: Student,
        images: Dataset,
        chosen: pa.Table,
        settings: Settings,
        loss: str,
        divides: bool,
        seed: int,
    ) -> None:
        self.student, self.images, self.settings, self.divides, self.seed = (
            student,
            images,
            settings,
            divides,
            seed,
        )
        self.device = next(student.model.parameters()).device
        self.dtype = torch.float32
        self.labels, weight, self.part = _in_order(chosen, images)
        self.rows = np.flatnonzero(self.part == TRAIN)
        self.memory: dict[str, Tensor] = {
            "weight": torch.from_numpy(weight / weight[self.rows].mean()).float(),
            "history": torch.full(
                (settings.epochs, 2), torch.nan, dtype=torch.float64
            ),  # accuracy and loss on the validation images
        }
        if loss == "elr":
            self.memory["elr"] = torch.zeros(len(images), len(images.classes))
        self.loss = LOSSES[loss](settings, self.memory)
        self.last: dict[str, Tensor] | None = (
            None  # weights of the last epoch, where others are left in the student
        )
        self.parameters = backbone.trainable(student.model, settings.tune)
        if settings.checkpointing:
            backbone.save_memory(student.model)
        if settings.head_start == "text":
            texts = [images.template.format(name) for name in images.names]
            backbone.head_from_texts(
                student,
                texts,
                self._normalised(self.images.inputs(self.rows[:LOOK_AT])),
            )
        buffers = dict(student.model.named_buffers())
        kept = (
            student.model.state_dict().keys() & buffers.keys()
        )  # running means and variances
        self.memory |= {f"buffer/{name}": buffers[name] for name in sorted(kept)}

    def run(
        self, folder: Path, fingerprint: str, val: Dataset | None = None
    ) -> dict[str, Any]:
        """Train, and leave the student with the weights that are kept; with keep=both
        `last` holds the others.

        Args:
            folder: for checkpoints.
            val: images to validate on; None takes the part that was kept aside.

        Returns:
            validation (images, source), last and chosen (epoch, accuracy, loss), kept, history.

        Raises:
            LabelsieveError: the memory of the device is too small; says what helps.
        """
        held = np.flatnonzero(self.part == VALIDATION)
        looks = (
            (val, np.arange(len(val)), val.labels)
            if val is not None
            else (self.images, held, self.labels)
        )
        best = folder / "chosen.safetensors"

        def after_epoch(epoch: int) -> bool:
            if len(looks[1]):
                self.memory["history"][epoch - 1] = torch.tensor(
                    self._validate(*looks), dtype=torch.float64
                )
                if self._chosen() == epoch:
                    _keep(self.student.model, best)
            if (
                self.divides
                and self.settings.warmup_epochs <= epoch < self.settings.epochs
            ):
                self._divide()
            waited = epoch - self._chosen() if len(looks[1]) else 0
            return (
                self.settings.patience is not None and waited >= self.settings.patience
            )

        rates = self._head_rates()
        try:
            fit(
                self.parameters,
                self.rows,
                self.images.inputs,
                self.loss_of,
                self.settings.recipe(),
                seed=self.seed,
                rates=rates,
                what="Fine-tuning",
                memory=self.memory,
                checkpoint=Checkpoint(folder / "training.safetensors", fingerprint),
                after_epoch=after_epoch,
            )
        except LabelsieveError as error:
            if is_memory_error(error.__cause__):
                raise LabelsieveError(
                    error.what, f"{error.do} Or --set checkpointing=true (slower)."
                ) from error
            raise
        return self._result(best, *looks)

    def loss_of(self, batch: Batch, loaded: Tensor) -> Tensor:
        """Mean of weight times loss of a batch, with gradient."""
        self.student.model.train(
            len(batch.rows) > 1
        )  # one picture alone has no batch statistics
        pictures = self._normalised(loaded)
        if self.settings.crop < 1 or self.settings.mirror:
            pictures = crop_and_mirror(
                pictures,
                batch.generator,
                self.settings.crop,
                bool(self.settings.mirror),
            )
        with _drawing_from(batch.generator, self.device):
            logits = self.logits(pictures)
        labels = torch.from_numpy(self.labels[batch.rows]).to(self.device)
        weights = self.memory["weight"][batch.rows].to(self.device)
        return (self.loss(logits, labels, batch.rows) * weights).mean()

    def logits(self, pictures: Tensor) -> Tensor:
        """Normalised pictures [b, 3, h, w] -> [b, k] float32."""
        with torch.autocast(
            self.device.type, self.dtype, enabled=self.dtype != torch.float32
        ):
            return backbone.logits_of(self.student.model, pictures).float()

    def _normalised(self, pixels: Tensor) -> Tensor:
        return encoder.normalise(pixels, self.student.preprocess, self.device)

    def _head_rates(self) -> dict[str, float]:
        if self.settings.head_lr is None:
            return {}
        return dict.fromkeys(
            backbone.parameters_of(self.student.model, "head"), self.settings.head_lr
        )

    def _probabilities(self, images: Dataset, rows: np.ndarray) -> np.ndarray:
        """[b, k] of pictures as they are."""
        judge = Classifier(self.student, images.classes, dtype=self.dtype)
        parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        return np.concatenate(
            [judge.probabilities(images.inputs(part)) for part in parts]
        )

    def _validate(
        self, images: Dataset, rows: np.ndarray, labels: np.ndarray
    ) -> tuple[float, float]:
        """Accuracy and mean cross-entropy."""
        probs = self._probabilities(images, rows)
        given = probs[np.arange(len(rows)), labels[rows]].astype(np.float64)
        return float((probs.argmax(1) == labels[rows]).mean()), float(
            -np.log(given.clip(1e-12)).mean()
        )

    def _chosen(self) -> int:
        """The epoch, from 1 on, with the highest accuracy, of those the lowest loss, of
        those the first.
        """
        history = self.memory["history"].tolist()
        done = [
            (-accuracy, loss, epoch)
            for epoch, (accuracy, loss) in enumerate(history, 1)
            if accuracy == accuracy
        ]
        return min(done)[2]

    def _divide(self) -> None:
        """Weigh only labels whose loss belongs to the lower of two Gaussians (DivideMix;
        `labelsieve.methods.gmm`).
        """
        probs = self._probabilities(self.images, self.rows)
        given = probs[np.arange(len(self.rows)), self.labels[self.rows]].astype(
            np.float64
        )
        clean = mixture.upper_cluster(np.log(given.clip(1e-12)), self.seed) > 0.5
        if clean.any():
            self.memory["weight"][self.rows] = torch.from_numpy(
                clean / clean.mean()
            ).float()

    def _result(
        self, best: Path, images: Dataset, rows: np.ndarray, labels: np.ndarray
    ) -> dict[str, Any]:
        history = self.memory["history"].tolist()
        epochs = sum(accuracy == accuracy for accuracy, _ in history)
        facts: dict[str, Any] = {
            "validation": {
                "images": len(rows),
                "source": "clean part" if images is self.images else "given",
            },
            "history": [
                {"epoch": e, "accuracy": a, "loss": x}
                for e, (a, x) in enumerate(history[:epochs], 1)
            ],
            "kept": "last",
            "last": None,
            "chosen": None,
        }
        if self.divides:
            facts["selected"] = int((self.memory["weight"][self.rows] > 0).sum())
        if not len(rows):
            return facts
        if not epochs:  # nothing was trained: the student as it began
            accuracy, loss = self._validate(images, rows, labels)
            return {**facts, "last": {"epoch": 0, "accuracy": accuracy, "loss": loss}}
        chosen = self._chosen()
        facts["last"] = self._figures(epochs, images, rows, labels)
        last = {name: t.clone() for name, t in self.student.model.state_dict().items()}
        self.student.model.load_state_dict(load_file(best, str(self.device)))
        facts["chosen"] = self._figures(chosen, images, rows, labels)
        if self.settings.keep == "last":
            self.student.model.load_state_dict(last)
        self.last = last if self.settings.keep == "both" else None
        return {**facts, "kept": "last" if self.settings.keep == "last" else "chosen"}

    def _figures(
        self, epoch: int, images: Dataset, rows: np.ndarray, labels: np.ndarray
    ) -> dict[str, Any]:
        """Of the student as it is now."""
        accuracy, loss = self.memory["history"][epoch - 1].tolist()
        found = metrics.classification(self._probabilities(images, rows), labels[rows])
        return {
            "epoch": epoch,
            "accuracy": accuracy,
            "loss": loss,
            "calibration_error": found["calibration_error"],
            "per_class": found["per_class"],
        }


def _in_order(
    chosen: pa.Table, images: Dataset
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels [n] as class numbers, weights [n] and parts [n] of the images, joined by sample id."""
    by_id = {row["sample_id"]: row for row in chosen.to_pylist()}
    number = {name: k for k, name in enumerate(images.classes)}
    rows = [by_id[i] for i in images.ids.to_pylist()]
    labels = np.array([number[row["label"]] for row in rows], dtype=np.int64)
    return (
        labels,
        np.array([row["weight"] for row in rows]),
        np.array([row["part"] for row in rows], dtype=object),
    )


def _keep(model: Any, path: Path) -> None:
    """All weights of a model, so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.partial")
    save_file(
        {
            name: t.detach().cpu().contiguous().clone()
            for name, t in model.state_dict().items()
        },
        scratch,
    )
    scratch.replace(path)


@contextmanager
def _drawing_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator: set from the step's own, and put back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        yield
