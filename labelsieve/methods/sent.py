"""SENT: errors are planted in the data, and a selector learns from many signals to find them.

After Wang et al., "Learning to Detect Noisy Labels Using Model-Based Features", Findings of EMNLP
2022 (arXiv 2212.13767), of which abstract and pipeline could be read: noise is transferred onto
labels that are believed, signals of a model are computed on both, a selector is trained where it
is known which labels were corrupted, and judges the rest. Equations and signals are ours.

No clean set is asked for. In each of `copies` copies of the labels, a `share` of the images gets
another one, drawn half from T and half from what the reference classifier would confuse the
picture with, so that errors depend on the picture, as people's do:

    ỹ ~ ½ T[c, ·] + ½ p(· | x),   other than the given label and c = argmax p

Where texts are judged, class names say little, and T found with them, too. There T and the
posterior are those of the nearest neighbours' votes (`knn`, preset `bayes`): planted errors then go
where people's do, and signals of the given class are worth hearing.

Everything that learns then learns again, with the planted labels among the others: a classifier
that had not seen them would find them too easily (the shift between signals of labels that were
trained on and others, which the page of the paper's idea warns of). The selector, a logistic
regression with a ridge, tells planted from other labels, among images whose own label is
believed; no image is judged by a selector that has seen it.

Signals: loss, margin, entropy and rank of the label under class names, a linear probe, kernel
ridge regression, the product of all, and 10 and 50 neighbours; of texts the log-odds by votes of 50
neighbours and their T; margins over the steps of a
probe's training (mean, last, spread, how often forgotten); the log-odds of a wrong label under T;
the share of doubtful labels of the class.

Shapes: n images, k classes, q signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch

from labelsieve import progress
from labelsieve.estimation.calibration import logit, of_given
from labelsieve.estimation.transition import Transition
from labelsieve.features import kernel, probe
from labelsieve.features.neighbours import nearest, votes
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import Evidence, knn
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.methods._picture_votes import LEAST, mean_of
from labelsieve.methods._posterior import TEXT, select_among
from labelsieve.methods._second_vote import is_asked
from labelsieve.settings import Above, AtLeast, Below

COST = (
    "one pass of the image tower (cached), and four rounds of probes and kernels; "
    "neighbours are quadratic, at most 300,000 images"
)
NEEDS = ()
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "corners": {"corners": True}}
NEIGHBOURS = (10, 50)
# Full steps of gradient descent with momentum on features of length one on average: enough for
# labels to be learned in their order, too few for the last to be learned by heart.
STEPS = 60
RATE = 2.0
MOMENTUM = 0.9
# Inverse ridge of the selector. On `random_label1` of CIFAR-10N, rows 0 to 7,999, AUROC with .002
# is .0005 higher where names say much and .0015 to .003 lower where they say nothing.
INVERSE_RIDGE = 0.05
# As odds of 1 to a million; fifty votes that agree would otherwise be an impossibility.
LEAST_OF_VOTES = 1e-6
# An image takes part in teaching the selector if its label is right with more than this. Without
# the bound real errors are taught as right ones: AUROC .002 to .003 lower (as above).
BELIEVED = 0.5


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring.

    Chosen on `random_label1`, as above: twice the share loses up to .001 of AUROC.
    """

    copies: Annotated[int, AtLeast(1)] = 3
    share: Annotated[float, Above(0), Below(1)] = 0.1


class Known(NamedTuple):
    """What does not depend on the labels that are judged.

    features: [n, d] float32. names: [n, k] calibrated vote of the class names; None where
    pictures are the reference. transition: T. near: rows and cosines of neighbours [n, m].
    texts: whether errors are planted by the neighbours' votes.
    """

    features: np.ndarray
    names: np.ndarray | None
    transition: Transition
    near: tuple[np.ndarray, np.ndarray]
    classes: int
    texts: bool = False


class Belief(NamedTuple):
    """What errors are planted by: a posterior [n, k] of the true classes, and T [k, k]."""

    posterior: np.ndarray
    matrix: np.ndarray


def about(name: str, probs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Loss, margin, entropy and rank [n] of labels [n] under probabilities [n, k]."""
    logs = np.log(probs.astype(np.float64).clip(LEAST))
    given = of_given(logs, labels)
    others = logs.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return {
        f"{name}_loss": -given,
        f"{name}_margin": given - others.max(1),
        f"{name}_entropy": -(probs * logs).sum(1),
        # the logarithm, as with many classes the last places are all alike
        f"{name}_rank": np.log1p((logs > given[:, None]).sum(1)),
    }


def course(
    features: np.ndarray, labels: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """How margins [n] of labels move while a linear layer is trained on all of them."""
    scaled = probe.standardise(features) / np.sqrt(features.shape[1])
    inputs = torch.from_numpy(scaled.astype(np.float32))
    given = torch.from_numpy(labels)
    targets = torch.nn.functional.one_hot(given, classes).float()
    weight = torch.zeros(inputs.shape[1] + 1, classes)
    speed = torch.zeros_like(weight)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)  # the last is the bias
    margins = []
    for _ in range(STEPS):
        logits = inputs @ weight
        others = logits.scatter(1, given[:, None], -torch.inf).max(1).values
        margins.append((logits.gather(1, given[:, None])[:, 0] - others).numpy())
        slope = inputs.T @ (logits.softmax(1) - targets) / len(inputs)
        speed = MOMENTUM * speed + slope
        weight -= RATE * speed
    # before the first step all margins are 0
    moved = np.stack(margins[1:]).astype(np.float64)
    lost = (moved[:-1] > 0) & (moved[1:] <= 0)
    return {
        "course_mean": moved.mean(0),
        "course_last": moved[-1],
        "course_spread": moved.std(0),
        "course_forgotten": lost.sum(0).astype(np.float64),
    }


def signals(
    known: Known, labels: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], Belief]:
    """Signals by name [n], and what planting goes by."""
    inputs, k = known.features, known.classes
    linear = probe.cross_validated(inputs, labels, k, seed)
    curved, _ = kernel.learn(inputs, labels, k, seed)
    found = about("probe", linear, labels) | about("kernel", curved, labels)
    joint = mean_of(linear, curved)
    if known.names is not None:
        found |= about("names", known.names, labels)
        # half: probes and names of one tower err together
        logs = np.log(known.names.clip(LEAST)) + 0.5 * np.log(joint.clip(LEAST))
        joint = softmax(logs)
    found |= about("joint", joint, labels)
    for count in NEIGHBOURS:
        found |= about(f"near_{count}", _near(known, labels, count), labels)
    found |= course(inputs, labels, k)
    posterior = known.transition.posterior(joint, labels)
    found["odds"] = -logit(of_given(posterior, labels))
    doubts = np.bincount(labels, 1 - of_given(joint, labels), k)
    found["class_doubt"] = (doubts / np.bincount(labels, minlength=k).clip(1))[labels]
    belief = Belief(posterior, known.transition.matrix)
    if known.texts:
        belief = _by_votes(known, labels)
        given = of_given(belief.posterior, labels)
        found["votes_odds"] = -logit(given, LEAST_OF_VOTES)
    return found, belief


def _by_votes(known: Known, labels: np.ndarray) -> Belief:
    """As preset `bayes` of `knn` judges labels [n]."""
    rows, cosines = known.near
    frequency = np.bincount(labels, minlength=known.classes).clip(1)
    counts = votes(rows, cosines.clip(1e-6), labels, known.classes)
    shown = knn.what_is_shown(counts, frequency, knn.Settings(bayes=True))
    posterior, matrix = knn.under_transition(shown, labels)
    return Belief(posterior, matrix.T)


def _near(known: Known, labels: np.ndarray, count: int) -> np.ndarray:
    """[n, k] shares of the nearest neighbours' labels."""
    rows, cosines = (of_all[:, :count] for of_all in known.near)
    counts = votes(rows, cosines.clip(1e-6), labels, known.classes)
    # a tenth of a vote for all classes: none is impossible after ten neighbours
    shares = counts + 0.1 / known.classes
    return shares / shares.sum(1, keepdims=True)


def plant(
    labels: np.ndarray,
    posterior: np.ndarray,
    matrix: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] of which a share is another, and whether it is [n] bool; docstring above."""
    n = len(labels)
    rows = rng.choice(n, max(1, int(share * n)), replace=False)
    likely = posterior[rows].argmax(1)
    at = np.arange(len(rows))
    by_class, by_picture = matrix[likely].copy(), posterior[rows].astype(np.float64)
    chances = np.zeros(by_class.shape)
    for part in (by_class, by_picture):
        part[at, likely] = part[at, labels[rows]] = 0
        part += 1e-9  # where nothing else is left, any other class
        chances += part / part.sum(1, keepdims=True)
    chances[at, likely] = chances[at, labels[rows]] = 0
    # with two classes and a doubted label nothing is left: its own other class
    empty = chances.sum(1) == 0
    chances[empty] = 1
    chances[at[empty], labels[rows][empty]] = 0
    steps = chances.cumsum(1)
    drawn = (steps < rng.random((len(rows), 1)) * steps[:, -1:]).sum(1)
    planted = np.zeros(n, dtype=bool)
    planted[rows] = True
    noisy = labels.copy()
    noisy[rows] = drawn
    return noisy, planted


def _known(task: Task) -> Known:
    """The reference classifier, as all methods choose it, on what this task looks at."""
    data, k = task.data, len(task.data.classes)
    features = np.asarray(task.image_features(), dtype=np.float32)
    linear = probe.cross_validated(features, data.labels, k, task.seed)
    curved, _ = kernel.learn(features, data.labels, k, task.seed)
    answers = {TEXT: task.zero_shot().probs(), "pictures": mean_of(linear, curved)}
    reference = select_among(answers, data.labels, task.seed)
    names = reference.vote if reference.name == TEXT else None
    near = nearest(features, max(NEIGHBOURS))
    return Known(features, names, reference.transition, near, k, is_asked(task))


class Lesson(NamedTuple):
    """What selectors learn from: signals [m, q], whether planted [m], and the image's fold [m]."""

    signals: np.ndarray
    planted: np.ndarray
    fold: np.ndarray


def select(lesson: Lesson, judged: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Log-odds [n] that labels with signals [n, q] are planted; no fold judges itself."""
    from sklearn.linear_model import LogisticRegression

    mean, size = lesson.signals.mean(0), lesson.signals.std(0) + 1e-9
    inputs, asked = (lesson.signals - mean) / size, (judged - mean) / size
    odds = np.zeros(len(judged))
    for number in np.unique(fold):
        others, own = lesson.fold != number, fold == number
        model = LogisticRegression(C=INVERSE_RIDGE, max_iter=500)
        model.fit(inputs[others], lesson.planted[others])
        odds[own] = model.decision_function(asked[own])
    return odds


def detect(task: Task, settings: Settings) -> Evidence:
    """Plant, learn, select."""
    task = seen(task, settings)
    data = task.data
    known = _known(task)
    own, belief = signals(known, data.labels, task.seed)
    believed = of_given(belief.posterior, data.labels) > BELIEVED
    fold = probe.split(data.labels, probe.FOLDS, task.seed)
    lessons = []
    with progress.bar("Planting errors", settings.copies, unit="copies") as bar:
        for copy in range(settings.copies):
            rng = np.random.default_rng([task.seed, copy, len(data)])
            noisy, planted = plant(data.labels, *belief, settings.share, rng)
            # folds and penalties of their own: chance differs from copy to copy, too
            there, _ = signals(known, noisy, task.seed + copy + 1)
            taught = np.stack([there[name] for name in own], 1)[believed]
            lessons.append(Lesson(taught, planted[believed], fold[believed]))
            bar.advance(1)
    lesson = Lesson(*(np.concatenate(parts) for parts in zip(*lessons, strict=True)))
    if not _teaches(lesson):
        # so few images that some fold has seen no planted label: the best single signal
        ranking = Ranking(own["odds"], facts={"selector": "none"})
        return from_ranking(task, ranking, settings)
    odds = select(lesson, np.stack(list(own.values()), 1), fold)
    facts = {"selector": "logistic regression", "signals": list(own)}
    return from_ranking(task, Ranking(odds, facts=facts), settings)


def _teaches(lesson: Lesson) -> bool:
    """Whether, without any one fold, there are both planted labels and others."""
    for number in range(probe.FOLDS):
        rest = lesson.planted[lesson.fold != number]
        if rest.all() or not rest.any():
            return False
    return True
