"""Fine-tuning a backbone: what each image weighs, validation after every epoch, and the
epoch that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelsieve import progress
from labelsieve.classifiers.backbone import (
    Backbone,
    features_before,
    given_to,
    head_from_probe,
    head_from_texts,
    logits_of,
    parameters_of,
    trainable,
)
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.comparison import held_out
from labelsieve.classifiers.comparison.held_out import Validation
from labelsieve.classifiers.objective import LOSSES, Memory, Objective, check, pushed
from labelsieve.classifiers.recipe import Settings
from labelsieve.classifiers.training_set import TRAIN, VALIDATION, in_order
from labelsieve.data.batches import batches
from labelsieve.data.dataset import Dataset
from labelsieve.errors import LabelsieveError
from labelsieve.estimation import metrics, mixture
from labelsieve.estimation.validation.noisy_accuracy import ClassNoise
from labelsieve.features import probe
from labelsieve.models import adapters
from labelsieve.training import selection
from labelsieve.training.checkpoint import (
    Checkpoint,
    drop_damaged,
    read_chosen,
    write_tensors,
)
from labelsieve.training.loop import (
    LESS_MEMORY,
    Batch,
    Problem,
    fit,
    is_memory_error,
)

BATCH = 256  # pictures that are validated at once
LOOK_AT = 512  # pictures whose features scale a head that begins with texts
LEAST = 1e-12  # probability whose logarithm is still finite


class Fitting:
    """One training of one backbone.

    Args:
        images: of the run, prepared for the backbone.
        samples: labels, weights and parts by sample id
            (`labelsieve.classifiers.training_set`).

    Attributes:
        dtype: what is computed in; weights and their gradients stay float32.
        labels, part: [n] class numbers, and "train", "validation" or "none", per image.
        rows: [t] int64, the images that train.
        memory: what is kept from step to step and with every checkpoint.
        noise: how the labels of `labels` came about where they validate, if that is known.
        last: weights of the last epoch, where others are left in the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        images: Dataset,
        samples: pa.Table,
        settings: Settings,
        objective: Objective,
        seed: int,
    ) -> None:
        self.backbone = backbone
        self.images = images
        self.settings = settings
        self.objective = objective
        self.seed = seed
        self.device = next(backbone.model.parameters()).device
        self.dtype = torch.float32
        self.labels, weight, self.part = in_order(samples, images)
        self.rows = np.flatnonzero(self.part == TRAIN)
        check(objective, backbone.linear)
        # before the loss, which may keep its targets there
        self.memory = self._memory(weight)
        self.loss = LOSSES[objective.loss](settings, self.memory)
        self.last: dict[str, Tensor] | None = None
        self.noise: Callable[[np.ndarray, np.ndarray], ClassNoise | None] | None = None
        # first the head, which looks at the model as it is
        self._start()
        if settings.tune == "lora":
            chance = torch.Generator().manual_seed(seed)
            adapters.put_lora(backbone.model, settings.rank, chance)
        self.parameters = trainable(backbone, settings.tune)

    def _memory(self, weight: np.ndarray) -> Memory:
        """Weights whose mean over the training set is one, and what else must survive a stop."""
        # else the learning rate would mean less where labels weigh little
        scaled = torch.from_numpy(weight / weight[self.rows].mean()).float()
        # accuracy and loss on the validation images, of the start and per epoch
        shape = (1 + self.settings.epochs, 2)
        history = torch.full(shape, torch.nan, dtype=torch.float64)
        memory: Memory = {"weight": scaled, "history": history}
        if self.objective.loss == "elr":
            memory["elr"] = torch.zeros(len(self.images), len(self.images.classes))
        # running means and variances are no parameters, and change with every step
        buffers = dict(self.backbone.model.named_buffers())
        saved = self.backbone.model.state_dict().keys() & buffers.keys()
        return memory | {f"buffer/{name}": buffers[name] for name in sorted(saved)}

    def _start(self) -> None:
        if self.settings.checkpointing:
            self.backbone.save_memory()
        if self.settings.head_start == "text":
            texts = [self.images.template.format(name) for name in self.images.names]
            first = self.images.inputs(self.rows[:LOOK_AT])
            head_from_texts(self.backbone, texts, self.normalised(first))
        if self.settings.head_start == "probe":
            self._begin_as_probe()

    def _begin_as_probe(self) -> None:
        """Logistic regression on what the head is given of the training images, as they are."""
        head = self.backbone.linear
        if head is None:
            progress.note("The classifier has no single head: it begins at random.")
            return
        rows = self.rows
        if len(rows) > probe.TRAIN_ON:
            chosen = np.random.default_rng([self.seed, len(rows)])
            rows = np.sort(chosen.choice(rows, probe.TRAIN_ON, replace=False))
        with features_before(head) as seen:
            self.probabilities(self.images, rows)
        features = torch.cat(seen).numpy()
        head_from_probe(head, features, self.labels[rows], self.seed)

    def run(
        self, folder: Path, fingerprint: str, val: Dataset | None = None
    ) -> dict[str, Any]:
        """Train, and leave the backbone with the weights that are kept.

        Args:
            folder: for checkpoints.
            fingerprint: of everything that decides the weights.
            val: images to validate on; None takes the part that was kept aside.

        Returns:
            validation (images, source), last and chosen (epoch, accuracy, loss), kept, history,
            held_out (chosen, last and first epoch beside each other).

        Raises:
            LabelsieveError: the memory of the device is too small; says what helps.
        """
        aside = self.validation(val)
        # of every epoch, for the tests between them
        shape = (1 + self.settings.epochs, len(aside.rows))
        self.memory["right"] = torch.zeros(shape, dtype=torch.bool)
        state = folder / "training.safetensors"
        best = folder / "chosen.safetensors"  # kept for a training that goes on
        drop_damaged(best, state)
        # of epoch 0, which every start has again; no file, as nothing may come of it yet
        model = self.backbone.model
        begun = {
            name: t.detach().cpu().clone() for name, t in model.state_dict().items()
        }
        try:
            # the same at every start; with a checkpoint what was kept of it is put back
            if len(aside.rows):
                self._judge(0, aside)
            fit(
                self._problem(aside, best),
                self.settings.recipe(),
                seed=self.seed,
                checkpoint=Checkpoint(state, fingerprint),
            )
        except LabelsieveError as error:
            if is_memory_error(error.__cause__):
                # validation says what helps predicting, which is less
                more = f"{LESS_MEMORY} Or --set checkpointing=true (slower)."
                raise LabelsieveError(error.what, more) from error
            raise
        # also where everything was done before: figures come from the weights themselves
        return self._result(best, begun, aside)

    def _problem(self, aside: Validation, best: Path) -> Problem:
        """What is minimised; after each epoch the weights are judged."""
        return Problem(
            self.parameters,
            self.rows,
            self.images.inputs,
            self.loss_of,
            rates=self._head_rates(),
            what="Fine-tuning",
            unit=f"{self.images.noun}s",
            memory=self.memory,
            after_epoch=lambda epoch: self._after(epoch, aside, best),
        )

    def validation(self, val: Dataset | None) -> Validation:
        """What an epoch is chosen on: another data set, or the part that is kept aside."""
        if val is not None:
            return Validation(val, np.arange(len(val)), val.labels)
        held = np.flatnonzero(self.part == VALIDATION)
        noise = None if self.noise is None else self.noise(self.labels, held)
        return Validation(self.images, held, self.labels, noise)

    def _after(self, epoch: int, aside: Validation, best: Path) -> bool:
        """Validate and select after an epoch; True ends the training."""
        waited = 0
        if len(aside.rows):
            self._judge(epoch, aside)
            waited = epoch - selection.best(self.memory["history"])
            if waited == 0:
                weights = self.backbone.model.state_dict()
                write_tensors(best, weights, {"epoch": epoch})
        trusts = epoch < self.settings.warmup_epochs
        # after the last epoch there is nothing left to select for
        if self.objective.divides and not trusts and epoch < self.settings.epochs:
            self.divide()
        patience = self.settings.patience
        return patience is not None and waited >= patience

    def _judge(self, epoch: int, aside: Validation) -> None:
        right, loss = self.validate(aside)
        self.memory["right"][epoch] = torch.from_numpy(right)
        # float64: compared with each other to choose, so not rounded
        self.memory["history"][epoch, 0] = float(right.mean())
        self.memory["history"][epoch, 1] = loss

    def loss_of(self, batch: Batch, loaded: Any) -> Tensor:
        """Mean of weight times loss of a batch, with gradient."""
        # one picture alone has no batch statistics
        self.backbone.model.train(len(batch.rows) > 1)
        pictures = self.backbone.inputs.varied(
            self.normalised(loaded),
            batch.generator,
            self.settings.crop,
            bool(self.settings.mirror),
        )
        # the same dropout whether the training was interrupted or not
        with (
            _drawing_from(batch.generator, self.device),
            given_to(self.backbone.linear) as contexts,
        ):
            logits = self.logits(pictures)
        labels = torch.from_numpy(self.labels[batch.rows]).to(self.device)
        weights = self.memory["weight"][batch.rows].to(self.device)
        losses = self.loss(logits, labels, batch.rows) * weights
        if self.objective.regulariser == "context-vat":
            head: Any = self.backbone.linear
            given = torch.cat(contexts)
            losses = losses + pushed(self.settings, head, given, batch.generator)
        return losses.mean()

    def logits(self, pictures: Any) -> Tensor:
        """Normalised pictures [b, 3, h, w], or windows of texts -> [b, k] float32."""
        lower = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=lower):
            return logits_of(self.backbone.model, pictures).float()

    def normalised(self, given: Any) -> Any:
        """What the data set gives of rows as the backbone wants it, on its device."""
        return self.backbone.inputs.ready(given, self.device)

    def _head_rates(self) -> dict[str, float]:
        if self.settings.head_lr is None:
            return {}
        head = parameters_of(self.backbone, "head")
        return dict.fromkeys(head, self.settings.head_lr)

    def probabilities(self, images: Dataset, rows: np.ndarray) -> np.ndarray:
        """[b, k] of pictures as they are."""
        # as the saved classifier will answer: in evaluation mode, with its softmax
        judge = Classifier(self.backbone, images.classes, dtype=self.dtype)
        parts = []
        for part in batches(rows, BATCH, None):  # inside the training, which has a bar
            parts.append(judge.probabilities(images.inputs(part)))
        return np.concatenate(parts)

    def validate(self, aside: Validation) -> tuple[np.ndarray, float]:
        """Whether each label [v] is the answer, and mean cross-entropy."""
        labels = aside.labels[aside.rows]
        probs = self.probabilities(aside.images, aside.rows)
        return probs.argmax(1) == labels, float(-_log_of_labels(probs, labels).mean())

    def agreement(self, val: Dataset | None) -> np.ndarray:
        """[v] bool, which held-out labels the weights that were kept give."""
        return self.validate(self.validation(val))[0]

    def divide(self) -> None:
        """Weigh only labels whose loss belongs to the lower of two Gaussians.

        As DivideMix (Li et al., ICLR 2020) and `labelsieve.methods.gmm` do.
        """
        probs = self.probabilities(self.images, self.rows)
        score = _log_of_labels(probs, self.labels[self.rows])
        clean = mixture.upper_cluster(score, self.seed) > 0.5
        # a mixture that finds nothing clean would end the training: the weights stay
        if clean.any():
            weight = torch.from_numpy(clean / clean.mean()).float()
            self.memory["weight"][self.rows] = weight

    def _result(
        self, best: Path, begun: dict[str, Tensor], aside: Validation
    ) -> dict[str, Any]:
        facts = self._facts(aside)
        model = self.backbone.model
        if not len(aside.rows):
            adapters.take_lora(model)
            return facts
        epochs = facts["history"][-1]["epoch"]
        if not epochs:  # nothing was trained: the backbone as it began
            adapters.take_lora(model)
            return {**facts, "last": facts["history"][0]}
        facts["last"] = self._figures(epochs, aside)
        # a copy, since the kept epoch's weights are loaded over them
        last = adapters.without_lora(model)
        chosen = selection.best(self.memory["history"])
        kept = read_chosen(best, chosen) if chosen else begun
        model.load_state_dict(kept)
        facts["chosen"] = self._figures(chosen, aside)
        adapters.take_lora(model)
        right = self.memory["right"].numpy()
        # each once, the chosen one first
        named = {f"epoch {e}": right[e] for e in (chosen, epochs, 0)}
        facts["held_out"] = held_out.between(named, aside)
        labels = aside.labels[aside.rows]
        selection.warn_of_chance(facts["chosen"]["accuracy"], labels)
        facts["kept"] = "last" if self.settings.keep == "last" else "chosen"
        if self.settings.keep == "last":
            model.load_state_dict(last)
        if self.settings.keep == "both":
            self.last = last
        return facts

    def _facts(self, aside: Validation) -> dict[str, Any]:
        """What is known before the kept epoch is looked at."""
        history = selection.measured(self.memory["history"])
        kept = "clean part" if self.settings.validate == "clean" else "all labels"
        source = kept if aside.images is self.images else "given"
        facts: dict[str, Any] = {
            "validation": {
                "images": len(aside.rows),
                "source": source,
                "noun": self.backbone.inputs.noun,
            },
            "history": history,
            "kept": "last",
            "last": None,
            "chosen": None,
            "held_out": None,
        }
        if self.objective.divides:
            facts["selected"] = int((self.memory["weight"][self.rows] > 0).sum())
        return facts

    def _figures(self, epoch: int, aside: Validation) -> dict[str, Any]:
        """Of the backbone as it is now."""
        accuracy, loss = self.memory["history"][epoch].tolist()
        probs = self.probabilities(aside.images, aside.rows)
        measured = metrics.classification(probs, aside.labels[aside.rows])
        return {
            "epoch": epoch,
            "accuracy": accuracy,
            "loss": loss,
            "calibration_error": measured["calibration_error"],
            "per_class": measured["per_class"],
        }


def _log_of_labels(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[b] float64: log of the probability [b, k] of each label [b]."""
    # float64, as a mean over many images loses digits in float32
    given = probs[np.arange(len(labels)), labels].astype(np.float64)
    return np.log(given.clip(LEAST))


@contextmanager
def _drawing_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator: set from the step's own, and put back."""
    # of the device in use only: putting back the state of every GPU would wake them all
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        yield
