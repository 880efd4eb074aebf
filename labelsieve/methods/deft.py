"""DeFT: two prompts per class are trained as in the paper; labels are judged by Bayes' rule.

Wei, Li, Li, Shi, Li, Zhang, "Vision-Language Models are Strong Noisy Label Detectors", NeurIPS
2024 (arXiv 2409.19696), section 3; authors' code HotanLee/DeFT, commit dafcc14. A positive and a
negative prompt are learned per class, the negative one being the learned threshold of the
positive one. Trained as there: negative learning for the dual prompts, cross-entropy on positive
logits for the image side, selection by the learned threshold after a warm-up.

The paper's own judgement, by the learned threshold, is preset `paper`. It does what the authors'
code does: contexts of 16 random vectors, 20 visual prompts a block, SGD, one epoch of warm-up,
and labels judged in the last training epoch, on augmented pictures, while the weights move.

Preset `default` differs where small towers and human errors showed it must (docs/design.md has
the measurements):
- The number of visual prompts follows the tower, contexts start at the words of the template,
  Adam makes step sizes independent of the tower's logit scale, and the warm-up ends when accuracy
  on held-out noisy labels stops rising: selection begun too early locks in first guesses.
- Labels are judged in a pass of its own, on four fixed views of each picture, by Bayes' rule
  (`_posterior`): the class probabilities of the positive prompts, times those of a reference
  classifier, times the probability T[k, y] that class k is labelled y. The first know these data
  but have learned from wrong labels; the reference classifier knows nothing of the label it
  judges, and T is estimated with it. The learned threshold alone asks whether a class is likelier
  than chance given the noisy labels, and lets frequent human confusions pass.
- The reference classifier is the untouched model's zero-shot answer, or, where the model does not
  know the classes by name and a linear probe predicts the labels better, that probe, out of fold
  (labelsieve.estimation.transition, "Reference classifiers"). Class names then have no meaning to
  start from, so each class also learns a vector of its own (task residuals), for twice the epochs.

Preset `fast` trains prompts and a small map on cached features instead of tuning the tower.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelsieve.errors import OptionError
from labelsieve.estimation import flagging
from labelsieve.estimation.agreement import FITS
from labelsieve.estimation.calibration import of_given, with_given
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax, temperature_facts, temperature_of
from labelsieve.methods import Evidence
from labelsieve.methods._dual_prompts import Detector
from labelsieve.methods._posterior import (
    TEXT,
    Learned,
    Reference,
    Votes,
    select_reference,
    votes_temperature,
)
from labelsieve.methods._prompt_training import (
    EPOCHS,
    TrainingSettings,
    build,
    features_for,
    train,
)
from labelsieve.models import adapters

COST = (
    "a few passes forward and backward through the frozen image tower; "
    "with --fast one pass forward"
)
NEEDS = ("text", "pixels")
JUDGES = ("single",)
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
# Factors on the temperature of the class probabilities under which they are about as likely:
# they widen the interval of the share of wrong labels.
DOUBT = (0.7, 1.4)


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """See the module's docstring for the presets."""

    judge: Literal["posterior", "threshold"] = "posterior"
    scoring: Literal["final", "last-epoch"] = "final"
    # judged are whole pictures, or four crops into the corners; auto: 4 of pixels
    views: Literal[1, 4] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tuning == "features" and self.views == 4:
            raise OptionError(
                "views=4 needs pictures, tuning=features has one vector of each.",
                "Leave views out.",
            )


def detect(task: Task, settings: Settings) -> Evidence:
    """Train the detector on all images and judge their labels."""
    if settings.tuning not in adapters.BESIDE:
        # of the tower as it is; where it stays so, training need not wait for its features
        task.image_features()
    reference = None if task.agreement.verdict == FITS else select_reference(task)
    settings = completed(settings, reference.name if reference else TEXT)
    detector = build(task, settings, task.seed)
    seen = train(detector, task, settings)
    # only now, because class probabilities of all images would be held through the training
    reference = reference or select_reference(task)
    positive, negative = logits_of(detector, task, settings)
    votes = Votes(positive, reference.vote, task.data.labels)
    temperature = votes_temperature(votes, reference, task.seed)
    learned = Learned.of(task, detector.parameters(), reference, temperature)
    learned = learned.calibrated(votes, reference)
    evidence = _evidence(votes, negative, learned, settings)
    if settings.scoring == "last-epoch":
        evidence = _as_last_seen(evidence, seen, settings)
    if settings.judge == "posterior":
        evidence = replace(
            evidence, rates=_tenable_rates(votes, reference, temperature)
        )
    else:
        evidence = _believed(evidence, reference, task.data.labels)
    facts = temperature_facts(temperature_of(task.encoder, None), own=True)
    facts["transition_from"] = reference.name
    facts["doubt"] = reference.doubt
    facts["flags_by"] = "own rule" if settings.noise_rate is None else "known rate"
    return replace(evidence, facts=facts)


def _believed(evidence: Evidence, reference: Reference, labels: np.ndarray) -> Evidence:
    """The paper's flags and order, with probabilities that mean what they say."""
    suspicion = -evidence.p_clean
    p_clean = 1 - reference.curve(suspicion, labels)(suspicion)
    probs = with_given(evidence.probs, labels, p_clean)
    rates = reference.transition.rates
    return replace(evidence, p_clean=p_clean, probs=probs, posterior=True, rates=rates)


def _tenable_rates(
    votes: Votes, reference: Reference, temperature: float
) -> tuple[float, ...]:
    """Shares of wrong labels under assumptions that are about as likely as the estimate's."""
    rates = list(reference.transition.rates)
    for factor in DOUBT:
        rates.append(
            votes.wrong_rate(reference.transition.matrix, temperature * factor)
        )
    return tuple(rates)


def judge(task: Task, settings: Settings, learned: dict[str, Tensor]) -> Evidence:
    """Judge the labels of other images with a trained detector."""
    # both of the tower as it is, before adapters are put into it
    known = Learned.from_tensors(learned)
    vote = known.vote(task)
    # whether it has them was decided by the other data
    residuals = "residuals" in known.parameters
    detector = build(task, replace(settings, residuals=residuals), 0)
    with torch.no_grad():
        for name, parameter in detector.parameters().items():
            parameter.copy_(known.parameters[name])
    positive, negative = logits_of(detector, task, settings)
    votes = Votes(positive, vote, task.data.labels)
    # a known share of wrong labels was that of the other data
    return _evidence(votes, negative, known, replace(settings, noise_rate=None))


def completed(settings: Settings, reference: str) -> Settings:
    """Settings with what was left to the method, which depends on the reference classifier."""
    epochs = settings.epochs
    residuals = settings.residuals
    return replace(
        settings,
        epochs=EPOCHS[reference] if epochs is None else epochs,
        residuals=reference != TEXT if residuals is None else residuals,
    )


def logits_of(
    detector: Detector, task: Task, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative logits [n, k] of all pictures."""
    features = features_for(task, settings)
    return detector.judge(task.data, features, settings.views or 4, settings.mirror)


def _evidence(
    votes: Votes, negative: np.ndarray, learned: Learned, settings: Settings
) -> Evidence:
    """Judge labels from both votes and the negative logits [n, k]."""
    labels = votes.labels
    columns = {
        "positive_logit": of_given(votes.positive, labels),
        "negative_logit": of_given(negative, labels),
    }
    if settings.judge == "threshold":
        evidence = _by_threshold(votes.positive, negative, labels, settings)
    else:
        evidence = _by_posterior(votes, learned, settings)
    return replace(evidence, columns=columns, learned=learned.tensors())


def _by_posterior(votes: Votes, learned: Learned, settings: Settings) -> Evidence:
    """Bayes' rule; flagged are the labels that make the expected F1 largest."""
    labels = votes.labels
    # float32: in run folders they are float32, and this is one of the largest arrays
    probs = np.empty(votes.reference.shape, dtype=np.float32)
    p_clean = np.empty(len(labels))
    temperature = learned.votes_temperature
    for part, posterior in votes.posterior(learned.matrix, temperature):
        right = learned.right(of_given(posterior, labels[part]))
        probs[part] = learned.shares(posterior, labels[part], right)
        p_clean[part] = right
    flagged = _flagged(p_clean, flagging.flag_by_f1(1 - p_clean), settings)
    suggested = flagging.suggestions(probs, labels, flagged)
    return Evidence(p_clean, flagged, suggested, probs, posterior=True)


def _by_threshold(
    positive: np.ndarray, negative: np.ndarray, labels: np.ndarray, settings: Settings
) -> Evidence:
    """The paper's rule: similarity to the negative prompt is the threshold (section 3, eq. 2)."""
    # p_clean is a softmax over the two logits of the given label
    gap = of_given(negative, labels) - of_given(positive, labels)
    p_clean = 1 / (1 + np.exp(gap))
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


def _as_last_seen(
    evidence: Evidence, seen: dict[str, Tensor], settings: Settings
) -> Evidence:
    """Judged as each image was last seen in training."""
    p_clean = seen["p_clean"].double().numpy()
    # what training did not select is what the paper's code calls wrong
    own = ~seen["selected"].numpy()
    flagged = _flagged(p_clean, own, settings)
    return replace(evidence, p_clean=p_clean, flagged=flagged)


def _flagged(p_clean: np.ndarray, own: np.ndarray, settings: Settings) -> np.ndarray:
    """[n] bool: by a known share of wrong labels, else by the flags `own` of a rule."""
    flags, _ = flagging.choose(
        1 - p_clean, known=settings.noise_rate, own=own, estimated=None
    )
    return flags
