"""DeFT: two prompts per class are trained as in the paper; labels are judged by Bayes' rule.

Wei, Li, Li, Shi, Li, Zhang, "Vision-Language Models are Strong Noisy Label Detectors", NeurIPS
2024 (arXiv 2409.19696), section 3; authors' code HotanLee/DeFT, commit dafcc14. A positive and a
negative prompt are learned per class, the negative one being the learned threshold of the
positive one. Trained as there: negative learning for the dual prompts, cross-entropy on positive
logits for the image side, selection by the learned threshold after a warm-up.

The paper's own judgement, by the learned threshold, is preset `paper`. It does what the authors'
code does: contexts of 16 random vectors, 20 visual prompts a block, SGD, one epoch of warm-up,
and labels judged in the last training epoch, on augmented pictures, while the weights move.

Preset `default` trains nothing. Labels are judged by Bayes' rule (`_posterior`):
the votes on the class, times the probability T[k, y] that class k is labelled y. The learned
threshold alone lets frequent human confusions pass. Votes are, on four fixed views of each picture:
- the zero-shot answer, which knows nothing of the label it judges;
- two probes of frozen features, out of fold (`_picture_votes`), which count as much as makes the
  labels likeliest: with few images of a class a probe knows little.
T is estimated with the reference classifier, which is the zero-shot answer or, where the model
does not know the classes by name and the probes predict the labels better, the probes. Class names
then have no say. Pictures are mirrored unless that changes their classes, which is measured.
Preset `fast` looks at the whole picture, whose features are needed anyway, and two crops.

Preset `tuned` trains the prompts and lets them vote, too. It differs from the paper where small
towers and human errors showed it must (docs/design.md has the measurements):
- The number of visual prompts follows the tower, contexts start at the words of the template,
  Adam's steps follow the size of what they change, and the warm-up ends when accuracy on
  held-out noisy labels stops rising: selection begun too early locks in first guesses. The best
  epoch by that accuracy is kept; where it is the untouched model, nothing trained is used.
- The trained positive prompts and the probes have learned from the same labels and are one
  opinion, their mean. Where names say nothing, each class also learns a vector of its own (task
  residuals), for twice the epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelsieve.estimation import flagging
from labelsieve.estimation.agreement import FITS
from labelsieve.estimation.calibration import of_given, with_given
from labelsieve.estimation.transition import fit_transition
from labelsieve.features.cached import Corners, Few, look_of
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax, temperature_facts, temperature_of
from labelsieve.methods import Evidence
from labelsieve.methods._dual_prompts import Detector
from labelsieve.methods._learned import Learned, text_vote
from labelsieve.methods._mirroring import keeps_classes
from labelsieve.methods._picture_votes import (
    PLAIN,
    Hearing,
    PictureProbes,
    blended,
    hearing,
    learn,
)
from labelsieve.methods._posterior import (
    PICTURES,
    TEXT,
    Reference,
    Votes,
    select_among,
    select_reference,
    votes_temperature,
)
from labelsieve.methods._prompt_training import (
    Trained,
    TrainingSettings,
    build,
    features_for,
    fitting_epochs,
    train,
)
from labelsieve.methods._second_vote import errors_show
from labelsieve.models import adapters

COST = "five passes of the image tower (cached); with --preset tuned many more, and backward"
FROZEN_PASSES = {1: 1, 2: 2, 3: 3, 4: 5}  # by views: of four the whole picture is none
NEEDS = ("text", "pixels")
WITHOUT_PIXELS = ("default", "fast")  # presets that judge texts, too
JUDGES = ("single",)
FROZEN = {"tuning": "features"}
PRESETS: dict[str, dict[str, Any]] = {
    "default": FROZEN,
    "fast": {**FROZEN, "views": 3},
    "tuned": {},
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
        "ramp": 0.0,
        "clip": None,
        "mirror": True,
        "judge": "threshold",
        "scoring": "last-epoch",
        "views": 1,
    },
}
# What is asked for by naming one of these cannot be had from frozen features.
_OTHERS = ("noise_rate", "mirror")
OF_TRAINING = ["judge", "scoring"]
OF_TRAINING += [f.name for f in fields(TrainingSettings) if f.name not in _OTHERS]
# Factors on the temperature of the class probabilities under which they are about as likely:
# they widen the interval of the share of wrong labels.
DOUBT = (0.7, 1.4)


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """See the module's docstring for the presets."""

    judge: Literal["posterior", "threshold"] = "posterior"
    scoring: Literal["final", "last-epoch"] = "final"
    # judged are whole pictures; these and a crop or two; or crops into all corners
    views: Literal[1, 2, 3, 4] = 4


def detect(task: Task, settings: Settings) -> Evidence:
    """Train the detector on all images and judge their labels."""
    # of the tower as it is; where it stays so, training need not wait for its features
    first = settings.tuning not in adapters.BESIDE
    if first:
        task.image_features()
    if settings.mirror is None:
        settings = replace(settings, mirror=keeps_classes(task))
    if first:
        task.image_features(look_of(settings.views, settings.mirror))
    frozen = None if task.agreement.verdict == FITS else _frozen_votes(task, settings)
    name = frozen.reference.name if frozen else TEXT
    settings = completed(settings, name, len(task.data), len(task.data.classes))
    detector = build(task, settings, task.seed)
    trained = train(detector, task, settings)
    # only now, because class probabilities of all images would be held through the training
    frozen = frozen or _frozen_votes(task, settings)
    positive, negative = logits_of(detector, task, settings)
    tuned = trained.epoch > 0 or settings.judge == "threshold"
    votes = frozen.votes(positive if tuned else None, task.data.labels)
    learned = _learned(task, detector.parameters() if tuned else {}, frozen, votes)
    evidence = _evidence(votes, (positive, negative), learned, settings)
    if settings.scoring == "last-epoch":
        evidence = _as_last_seen(evidence, trained, settings)
    reference = frozen.reference
    if settings.judge == "posterior":
        temperature = learned.votes_temperature
        rates = _tenable_rates(votes, reference, temperature)
        evidence = replace(evidence, rates=rates)
    else:
        evidence = _believed(evidence, reference, task.data.labels)
    return replace(evidence, facts=_facts(task, settings, reference, trained))


def _facts(
    task: Task, settings: Settings, reference: Reference, trained: Trained
) -> dict[str, Any]:
    facts = temperature_facts(temperature_of(task.encoder, None), own=True)
    facts["transition_from"] = reference.name
    facts["doubt"] = reference.doubt
    facts["flags_by"] = _rule(settings)
    facts["mirror"] = settings.mirror
    facts["epoch"] = trained.epoch
    facts["held_out_accuracy"] = list(trained.accuracy)
    return facts


def _rule(settings: Settings) -> str:
    """By what labels were flagged, in the words that all methods share."""
    if settings.noise_rate is not None:
        return "known rate"
    return flagging.BY_F1 if settings.judge == "posterior" else "own rule"


@dataclass(frozen=True)
class _Frozen:
    """What the untouched model says of n images.

    reference: the reference classifier.
    pictures: [n, k] calibrated vote of the probes; None: only class names vote.
    probes: for other images. calibration: of their vote, as `Learned` keeps it.
    heard: how much that vote counts beside class names.
    look: what of each picture was seen.
    """

    reference: Reference
    pictures: np.ndarray | None = None
    probes: PictureProbes | None = None
    calibration: np.ndarray | None = None
    heard: Hearing = PLAIN
    look: Corners | Few | None = None

    def votes(self, positive: np.ndarray | None, labels: np.ndarray) -> Votes:
        """With the logits [n, k] of the trained prompts, if they are worth hearing."""
        vote = self.reference.vote
        if self.reference.name != TEXT:
            # the probes are the reference already
            second = np.zeros(vote.shape, np.float32) if positive is None else positive
        else:
            second = blended(positive, self.pictures, self.heard.weight)
        return Votes(second, vote, labels)


def _frozen_votes(task: Task, settings: Settings) -> _Frozen:
    """Of class names, and of probes of the pictures where labels are judged by votes."""
    look = look_of(settings.views, settings.mirror)
    if settings.judge == "threshold":
        return _Frozen(select_reference(task), look=look)
    data = task.data
    answers, probes = learn(data, task.image_features(look), task.seed)
    raw = answers.together
    votes = {TEXT: text_vote(task, look)}
    if task.agreement.verdict != FITS or errors_show(task, raw):
        votes[PICTURES] = raw
    reference = select_among(votes, data.labels, task.seed, answers.linear)
    fit, pictures, heard = reference.transition, None, PLAIN
    if reference.name == TEXT:
        fit = fit_transition(raw, data.labels, task.seed)
        pictures = fit.calibrate(raw)
        matrix = reference.transition.matrix
        heard = hearing(reference.vote, pictures, matrix, data.labels)
    calibration = np.concatenate([[fit.temperature], fit.weights])
    return _Frozen(reference, pictures, probes, calibration, heard, look)


def _learned(
    task: Task, parameters: Mapping[str, Tensor], frozen: _Frozen, votes: Votes
) -> Learned:
    """What other images are judged by."""
    temperature = frozen.heard.temperature
    if frozen.reference.name != TEXT:
        temperature = votes_temperature(votes, frozen.reference, task.seed)
    learned = Learned.of(parameters, frozen.reference, temperature)
    learned = replace(
        learned,
        pictures=frozen.probes,
        picture_calibration=frozen.calibration,
        pictures_weight=frozen.heard.weight,
        look=frozen.look,
    )
    return learned.calibrated(votes, frozen.reference)


def _believed(evidence: Evidence, reference: Reference, labels: np.ndarray) -> Evidence:
    """The paper's flags and order, with probabilities that mean what they say.

    Column `score` is what the paper calls the clean probability.
    """
    suspicion = -evidence.p_clean
    p_clean = 1 - reference.curve(suspicion, labels)(suspicion)
    probs = with_given(evidence.probs, labels, p_clean)
    return replace(
        evidence,
        p_clean=p_clean,
        probs=probs,
        posterior=True,
        rates=reference.transition.rates,
        columns={**evidence.columns, "score": evidence.p_clean},
    )


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
    # votes of the tower as it is, before adapters are put into it
    known = Learned.from_tensors(learned)
    vote = known.vote(task)
    pictures = known.picture_vote(task) if known.pictures and known.text else None
    # what was left to the method was decided by the other data
    mirror = settings.mirror if known.look is None else known.look.mirror
    residuals = "residuals" in known.parameters
    settings = replace(settings, residuals=residuals, mirror=mirror)
    detector = build(task, settings, 0)
    with torch.no_grad():
        for name, parameter in detector.parameters().items():
            # nothing that was trained is used where the untouched model was better
            if known.parameters:
                parameter.copy_(known.parameters[name])
    logits = logits_of(detector, task, settings)
    positive = logits[0] if known.parameters else None
    if not known.text and positive is None:
        positive = np.zeros(vote.shape, dtype=np.float32)
    second = blended(positive, pictures, known.pictures_weight)
    votes = Votes(second, vote, task.data.labels)
    # a known share of wrong labels was that of the other data
    return _evidence(votes, logits, known, replace(settings, noise_rate=None))


def completed(settings: Settings, reference: str, n: int, k: int) -> Settings:
    """With what was left to the method, by the reference classifier and n images of k classes."""
    epochs, residuals = settings.epochs, settings.residuals
    if epochs is None:
        # where nothing of the tower is tuned, class names and probes say as much
        fitting = fitting_epochs(n, k, settings.batch_size, reference)
        epochs = 0 if settings.tuning == "features" else fitting
    residuals = reference != TEXT if residuals is None else residuals
    return replace(settings, epochs=epochs, residuals=residuals)


def logits_of(
    detector: Detector, task: Task, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative logits [n, k] of all pictures."""
    features = features_for(task, settings)
    mirror = settings.mirror is not False
    return detector.judge(task.data, features, settings.views, mirror)


def _evidence(
    votes: Votes,
    logits: tuple[np.ndarray, np.ndarray],
    learned: Learned,
    settings: Settings,
) -> Evidence:
    """Judge labels from the votes and the positive and negative logits [n, k]."""
    labels = votes.labels
    positive, negative = logits
    columns = {
        "positive_logit": of_given(positive, labels),
        "negative_logit": of_given(negative, labels),
    }
    if settings.judge == "threshold":
        evidence = _by_threshold(positive, negative, labels, settings)
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


def _as_last_seen(evidence: Evidence, trained: Trained, settings: Settings) -> Evidence:
    """Judged as each image was last seen in training."""
    p_clean = trained.p_clean.double().numpy()
    # what training did not select is what the paper's code calls wrong
    own = ~trained.selected.numpy()
    flagged = _flagged(p_clean, own, settings)
    return replace(evidence, p_clean=p_clean, flagged=flagged)


def _flagged(p_clean: np.ndarray, own: np.ndarray, settings: Settings) -> np.ndarray:
    """[n] bool: by a known share of wrong labels, else by the flags `own` of a rule."""
    flags, _ = flagging.choose(
        1 - p_clean, known=settings.noise_rate, own=own, estimated=None
    )
    return flags
