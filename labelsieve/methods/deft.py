"""DeFT: a positive and a negative prompt per class; the negative one is the learned threshold of the positive one.

Wei, Li, Li, Shi, Li, Zhang, "Vision-Language Models are Strong Noisy Label Detectors", NeurIPS 2024 (arXiv 2409.19696),
section 3; authors' code HotanLee/DeFT, commit dafcc14. Trained as there: negative learning for the dual prompts,
cross-entropy on positive logits for the image side, selection by the learned threshold after a warm-up.

Preset `paper` does what the authors' code does: contexts of 16 random vectors, 20 visual prompts a block, SGD, one epoch
of warm-up, and labels judged in the last training epoch, on augmented pictures, while the weights still move.

Preset `default` differs where small towers and human errors showed it must (docs/design.md has the measurements):
- The size of visual prompts follows the tower, contexts start at the words of the template, Adam makes step sizes
  independent of the tower's logit scale, and the warm-up ends when accuracy on held-out noisy labels stops rising:
  selection begun too early locks in first guesses.
- Labels are judged in a pass of its own, on four fixed views of each picture, and by Bayes' rule: the class probabilities of the
  positive prompts, times those of a reference classifier, times the probability T[k, y] that class k is labelled y. The first know
  these data but have learned from wrong labels; the reference classifier knows nothing of the label it judges, and T is found with it.
  The learned threshold alone asks whether a class is likelier than chance given the noisy labels, and lets frequent human
  confusions pass.
- The reference classifier is the untouched model's zero-shot answer. Where it does not know the classes and a probe on its features,
  asked out of fold, predicts the labels better (labelsieve.estimation.transition, "Reference classifiers"), it is the probe. Then class names
  have no meaning to start from, and each class also learns a vector of its own (task residuals), for twice the epochs.
Preset `fast` trains prompts and a small map on cached features instead of tuning the tower.

Shapes: b images, n images in all, k classes, m context tokens, d width of the common space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.augment import crop_and_mirror
from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError, unknown
from labelsieve.estimation import flagging
from labelsieve.estimation.agreement import FITS
from labelsieve.estimation.transition import Transition, fit_transition, select
from labelsieve.features.cached import image_features
from labelsieve.features.references import measure, reference_probs
from labelsieve.features.task import Workplace
from labelsieve.features.zero_shot import softmax, temperature_facts, temperature_of
from labelsieve.methods import Evidence
from labelsieve.methods._dual_prompts import Detector as Detector
from labelsieve.methods._dual_prompts import Step as Step
from labelsieve.methods._dual_prompts import complementary_labels, pictures_of
from labelsieve.methods._evidence import need
from labelsieve.methods._posterior import (
    _posterior,
    _probe,
    _rate,
    _temper,
    _vote,
    _voter,
)
from labelsieve.models import adapters as tuning
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.prompts import DualPrompts
from labelsieve.training.loop import Batch, Recipe, fit

COST = "a few passes forward and backward through the frozen image tower; with --fast one pass forward"
NEEDS = ("text", "pixels")
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"tuning": "features", "epochs": 15, "batch_size": 256, "image_lr": 2e-3},
    "paper": {
        "tuning_size": 20,
        "context_length": 16,
        "context_start": "random",
        "residuals": False,
        "epochs": 10,
        "warmup_epochs": 1,
        "optimizer": "sgd",
        "image_lr": 0.03,
        "text_lr": 0.03,
        "schedule": "cosine",
        "judge": "threshold",
        "scoring": "last-epoch",
        "views": 1,
    },
}
EPOCHS = {
    "text": 6,
    "pictures": 12,
}  # classes without a meaning are learned from the pictures alone, which takes longer
HELD_OUT = 0.1  # share of the images whose noisy labels decide when the warm-up ends
DOUBT = (
    0.7,
    1.4,
)  # the class probabilities might as well have these temperatures: they widen the interval of the rate


@dataclass(frozen=True)
class Settings:
    """See the module's docstring for the presets."""

    tuning: str = "vpt-deep"  # how the image side adapts: a name of labelsieve.models.adapters.KINDS, or "features"
    tuning_size: int | None = (
        None  # visual prompt tokens a block, rank or width; auto: a quarter of the tokens, at most 20
    )
    context_length: int = (
        16  # context vectors before each class name, where they start at random
    )
    context_start: Literal["template", "random"] = "template"
    residuals: bool | None = (
        None  # prompt features get a learned vector per class; auto: where a probe is the reference classifier
    )
    epochs: int | None = None  # auto: `EPOCHS` of the reference classifier
    warmup_epochs: int | None = (
        None  # epochs that trust every label; auto: until held-out noisy accuracy stops rising
    )
    optimizer: Literal["adamw", "sgd"] = "adamw"
    image_lr: float = 5e-3
    text_lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "smooth"] = "smooth"
    batch_size: int = 64
    accumulate: int = 1
    judge: Literal["posterior", "threshold"] = "posterior"
    rule: Literal["threshold", "real"] = (
        "threshold"  # "real": selected labels must also be the best class; SCE warm-up
    )
    scoring: Literal["final", "last-epoch"] = "final"
    views: Literal[1, 4] | None = (
        None  # judged are whole pictures, or four crops into the corners; auto: 4 of pixels
    )
    mirror: bool = True  # augmentation and views mirror pictures
    noise_rate: float | None = (
        None  # known share of wrong labels: so many of the most suspicious are flagged
    )

    def __post_init__(self) -> None:
        if self.tuning not in (*tuning.KINDS, "features"):
            raise OptionError(
                unknown("--tuning", self.tuning, (*tuning.KINDS, "features"))
            )
        if self.tuning == "features" and self.views == 4:
            raise OptionError(
                "views=4 needs pictures, tuning=features has one vector of each.",
                "Leave views out.",
            )
        need(self, image_lr=0, text_lr=0, context_length=1)
        _recipe(self)  # refuses numbers that cannot be


def build(
    images: Dataset,
    encoder: DualEncoder,
    settings: Settings,
    seed: int,
    *,
    residuals: bool = False,
) -> Detector:
    """A detector before training."""
    generator = torch.Generator().manual_seed(seed)
    template = images.template if settings.context_start == "template" else None
    prompts = DualPrompts.start(
        encoder, template, settings.context_length, 0.1, generator
    )
    tokens = encoder.class_tokens(images.names, prompts.length)
    width, device = encoder.text_features(["a"]).shape[1], encoder.device
    added = (
        nn.Parameter(torch.zeros(2, len(images.classes), width, device=device))
        if residuals
        else None
    )
    if settings.tuning == "features":
        adapter = nn.Parameter(torch.zeros(width, width, device=device))
        return Detector(encoder, tokens, prompts, tuning.Tuning(), adapter, added)
    size = settings.tuning_size or tuning.fitting_size(encoder)
    return Detector(
        encoder,
        tokens,
        prompts,
        tuning.build(settings.tuning, encoder, size, generator),
        residuals=added,
    )


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Train the detector on all images and judge their labels."""
    text_fits = measure(images, encoder, run.seed).verdict == FITS
    # features are of the tower before adapters are put into it; where it stays as it is, training need not wait for them
    waits = settings.tuning in tuning.BESIDE
    frozen = None if waits else image_features(images, encoder)
    asked = {} if waits and text_fits else reference_probs(images, encoder, run.seed)
    selected = None if text_fits else _select(asked, images.labels, run.seed)
    settings = _chosen(settings, selected[0] if selected else "text")
    learned = (
        _probe(images, encoder, run.seed) if selected and selected[0] != "text" else {}
    )
    detector = build(
        images, encoder, settings, run.seed, residuals=bool(settings.residuals)
    )
    seen = _train(
        detector,
        images,
        frozen if settings.tuning == "features" else None,
        settings,
        run,
    )
    asked = asked or reference_probs(images, encoder, run.seed)
    reference, transition = selected or _select(asked, images.labels, run.seed)
    vote = transition.calibrate(asked[reference])
    del asked  # class probabilities of all images, as large as what follows
    if reference != "text":
        transition = transition.simplified(vote, images.labels, run.seed)
    learned |= _voter(transition) | {
        name: p.detach() for name, p in detector.parameters().items()
    }
    positive, negative = _logits(detector, images, frozen, settings)
    tempered = (
        1.0
        if reference == "text"
        else _temper(positive, vote, images.labels, transition, run.seed)
    )
    learned["votes_temperature"] = torch.tensor(tempered, dtype=torch.float64)
    evidence = _evidence(positive, negative, images.labels, vote, settings, learned)
    if settings.scoring == "last-epoch":
        p_clean = seen["p_clean"].double().numpy()
        evidence = replace(
            evidence,
            p_clean=p_clean,
            flagged=_flagged(p_clean, ~seen["selected"].numpy(), settings),
        )
    if settings.judge == "posterior":
        doubts = tuple(
            _rate(positive, vote, images.labels, transition.matrix, tempered * t)
            for t in DOUBT
        )
        evidence = replace(evidence, rates=(*transition.rates, *doubts))
    facts = temperature_facts(temperature_of(encoder, None), own=True)
    rule = "own rule" if settings.noise_rate is None else "known rate"
    return replace(
        evidence, facts={**facts, "transition_from": reference, "flags_by": rule}
    )


def _select(
    asked: dict[str, np.ndarray], labels: np.ndarray, seed: int
) -> tuple[str, Transition]:
    return select(
        {name: fit_transition(probs, labels, seed) for name, probs in asked.items()}
    )


def judge(
    images: Dataset,
    encoder: DualEncoder,
    settings: Settings,
    learned: dict[str, Tensor],
) -> Evidence:
    """Judge the labels of other images with a trained detector."""
    vote, frozen = (
        _vote(images, encoder, learned),
        image_features(images, encoder),
    )  # before adapters are put into it
    detector = build(images, encoder, settings, 0, residuals="residuals" in learned)
    with torch.no_grad():
        for name, parameter in detector.parameters().items():
            parameter.copy_(learned[name])
    positive, negative = _logits(detector, images, frozen, settings)
    settings = replace(settings, noise_rate=None)  # it was the other data's
    return _evidence(positive, negative, images.labels, vote, settings, learned)


def _logits(
    detector: Detector,
    images: Dataset,
    frozen: np.ndarray | None,
    settings: Settings,
) -> tuple[np.ndarray, np.ndarray]:
    features = frozen if detector.adapter is not None else None
    return detector.judge(images, features, settings.views or 4, settings.mirror)


def _chosen(settings: Settings, reference: str) -> Settings:
    """What was left to the method to choose, by who told it how labels arise."""
    epochs = EPOCHS[reference] if settings.epochs is None else settings.epochs
    residuals = (
        reference != "text" if settings.residuals is None else settings.residuals
    )
    return replace(settings, epochs=epochs, residuals=residuals)


def _train(
    detector: Detector,
    images: Dataset,
    frozen: np.ndarray | None,
    settings: Settings,
    run: Workplace,
) -> dict[str, Tensor]:
    """Train in place, on pixels or on features `frozen` [n, d].

    Returns:
        What was seen of each image last: p_clean and whether it was selected.
    """
    recipe = _recipe(settings)
    n, k, device = len(images), len(images.classes), detector.encoder.device
    held_out = (
        _held_out(n, run.seed)
        if settings.warmup_epochs is None and n >= 10 * k
        else np.empty(0, dtype=np.int64)
    )
    seen = {
        "p_clean": torch.zeros(n),
        "selected": torch.zeros(n, dtype=torch.bool),
        "warm": torch.ones(1),
        "accuracy": torch.zeros(recipe.epochs),
    }
    labels = torch.from_numpy(images.labels)

    def load(rows: np.ndarray) -> Tensor:
        return (
            images.inputs(rows)
            if frozen is None
            else torch.from_numpy(np.asarray(frozen[rows], dtype=np.float32))
        )

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        given = labels[batch.rows]
        other = complementary_labels(given, k, batch.generator).to(device)
        pictures = (
            loaded.to(device)
            if frozen is not None
            else _augmented(loaded, detector.encoder, batch.generator, settings.mirror)
        )
        warm = (
            bool(seen["warm"])
            if settings.warmup_epochs is None
            else batch.epoch < settings.warmup_epochs
        )
        step = detector.step(
            pictures, given.to(device), other, selecting=not warm, rule=settings.rule
        )
        seen["p_clean"][batch.rows], seen["selected"][batch.rows] = (
            step.p_clean.cpu(),
            step.selected.cpu(),
        )
        return step.loss

    def after_epoch(epoch: int) -> bool:
        if len(held_out):
            seen["accuracy"][epoch - 1] = _accuracy(detector, images, held_out, frozen)
            seen["warm"][0] = float(
                still_rising(seen["accuracy"][:epoch].numpy(), len(held_out))
            )
        return False

    parameters = detector.parameters()
    of_text = {
        name: settings.text_lr
        for name in parameters
        if name in ("contexts", "residuals")
    }
    fit(
        parameters,
        np.setdiff1d(np.arange(n), held_out),
        load,
        loss_of,
        recipe,
        seed=run.seed,
        rates=of_text,
        what="Training prompts",
        memory=seen,
        checkpoint=run.checkpoint("deft"),
        after_epoch=after_epoch,
    )
    return seen


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        epochs=max(EPOCHS.values()) if settings.epochs is None else settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.image_lr,
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        accumulate=settings.accumulate,
    )


def _augmented(
    pixels: Tensor, encoder: DualEncoder, generator: torch.Generator, mirror: bool
) -> Tensor:
    return crop_and_mirror(encoder.normalise(pixels), generator, mirror=mirror)


def _held_out(n: int, seed: int) -> np.ndarray:
    """Rows [h] that are not trained on while the end of the warm-up is being decided."""
    return np.sort(
        np.random.default_rng([seed, 1]).choice(
            n, min(2000, int(HELD_OUT * n)), replace=False
        )
    )


@torch.no_grad()
def _accuracy(
    detector: Detector,
    images: Dataset,
    rows: np.ndarray,
    features: np.ndarray | None,
) -> float:
    """Share of held-out images whose given label is the best positive class."""
    text = detector.text_features()[0]
    parts = [
        (
            detector.image_features(
                pictures_of(images, part, features, detector.encoder)
            )
            @ text.T
        )
        .argmax(1)
        .cpu()
        .numpy()
        for part in np.array_split(rows, max(1, len(rows) // 256))
    ]
    return float((np.concatenate(parts) == images.labels[rows]).mean())


def still_rising(accuracies: np.ndarray, n: int) -> bool:
    """Whether accuracy on n held-out noisy labels rose in one of the last two epochs by more than its standard error.

    Noisy accuracy is largest where clean accuracy is (Chen et al., AAAI 2021), so it can decide without true labels.
    """
    if len(accuracies) < 3:
        return True
    error = float(np.sqrt(accuracies.max() * (1 - accuracies.max()) / n))
    return bool(accuracies[-2:].max() > accuracies[:-2].max() + 0.5 * error)


def _evidence(
    positive: np.ndarray,
    negative: np.ndarray,
    labels: np.ndarray,
    vote: np.ndarray,
    settings: Settings,
    learned: dict[str, Tensor],
) -> Evidence:
    """Judge labels [n] from positive and negative logits [n, k] and the reference classifier's class probabilities `vote` [n, k]."""
    each = np.arange(len(labels))
    columns = {
        "positive_logit": positive[each, labels],
        "negative_logit": negative[each, labels],
    }
    if settings.judge == "threshold":
        return replace(
            _by_threshold(positive, negative, labels, settings),
            columns=columns,
            learned=learned,
        )
    probs, p_clean = np.empty(vote.shape, dtype=np.float32), np.empty(len(labels))
    transition, temperature = (
        learned["transition"].cpu().numpy(),
        float(learned["votes_temperature"]),
    )
    for part, found in _posterior(positive, vote, labels, transition, temperature):
        probs[part], p_clean[part] = found, found[np.arange(len(found)), labels[part]]
    flagged = _flagged(p_clean, flagging.flag_by_f1(1 - p_clean), settings)
    suggested = flagging.suggestions(probs, labels, flagged)
    return Evidence(
        p_clean, flagged, suggested, probs, columns, learned, posterior=True
    )


def _by_threshold(
    positive: np.ndarray, negative: np.ndarray, labels: np.ndarray, settings: Settings
) -> Evidence:
    """The paper's rule: the similarity to the negative prompt is the threshold (Wei et al. 2024, section 3; eq. 2 is p_clean)."""
    each = np.arange(len(labels))
    p_clean = 1 / (1 + np.exp(negative[each, labels] - positive[each, labels]))
    flagged = p_clean <= 0.5
    if settings.rule == "real":
        flagged |= (positive - negative).argmax(1) != labels
    probs = softmax(positive)
    return Evidence(
        p_clean.astype(np.float64),
        _flagged(p_clean, flagged, settings),
        probs.argmax(1),
        probs,
    )


def _flagged(p_clean: np.ndarray, own: np.ndarray, settings: Settings) -> np.ndarray:
    return flagging.choose(
        1 - p_clean, known=settings.noise_rate, own=own, estimated=None
    )[0]
