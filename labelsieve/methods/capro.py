"""CAPro, without its training: prototypes of trusted pictures; keep, relabel, or no class at all.

After Qin et al., "CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes",
NeurIPS 2023 (arXiv 2310.09761), read with the authors' code (yuleiqin/capro). Its steps 2, 3, 6
and 7 on features of the frozen tower; see `labelsieve.features.open_set.prototypes`:

    anchors      of each class the 50 pictures whose text is nearest to the class (k-reciprocal
                 re-ranking), told by each picture's visual neighbours; z^c = their mean
    opinion      o = α p + (1 - α) softmax(z z^c / τ), p the probe out of fold
    polishing    z^c <- m z^c + (1 - m) z over the pictures that are kept, a few passes
    verdict      relabel where max o >= γ, keep where o[given] >= 1 / k, else no class

Differences: the tower is not trained, so step 0, the losses and collective bootstrapping are left
out. Anchors are at most a tenth of a class. Side texts (`--side-text-column`) and class names are
read by the model's own text tower, the first words of what is too long for it. Without them the
class name is compared with the picture itself; where names say little, the probe's probability of
the label chooses anchors.
Edges weigh 1 - distance (`smooth_texts`), and the order of rows decides nothing (`polish`).

Ours: the score of a label is o[given]; `outsider_score` in (0, 1] is the mean of two ranks, that
of the label's suspicion and that of the picture's distance from all classes (mean rank by
1 - max_c cos(z, z^c) and by 1 - max_c o): each alone ranks worse, see the documentation. A picture
is said to belong to no class where its label is flagged and the rule drops it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from scipy.stats import rankdata

from labelsieve.data.labels import NONE
from labelsieve.errors import ModelError
from labelsieve.estimation.agreement import LITTLE, NOTHING
from labelsieve.estimation.calibration import of_given
from labelsieve.features.open_set import prototypes
from labelsieve.features.open_set.prototypes import OUTSIDE, RELABEL
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.models.encoder import DualEncoder
from labelsieve.settings import Above, AtLeast, AtMost, Below, Share

COST = (
    "one pass of the image tower (cached), a linear probe, and seconds for prototypes"
)
NEEDS = ("text",)
JUDGES = ("single",)
SIDE_TEXTS = True
PRESETS: dict[str, dict[str, Any]] = {"default": {}}


@dataclass(frozen=True)
class Settings(Frozen):
    """The paper's settings, where it has them."""

    anchors: Annotated[int, AtLeast(1)] = 50  # K, most of a class
    anchor_share: Annotated[float, Above(0), AtMost(1)] = 0.1  # ours: most of a class
    probe_share: Annotated[float, Share()] = 0.5  # α
    temperature: Annotated[float, Above(0)] = 0.1  # τ
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.999  # m, of one picture
    passes: Annotated[int, AtLeast(0)] = 3  # of polishing; ours
    sure: Annotated[float, Share()] = 0.6  # γ


def detect(task: Task, settings: Settings) -> Evidence:
    """Find prototypes, let them and a probe judge each picture."""
    task = seen(task, settings)
    labels = task.data.labels
    features = np.asarray(task.image_features(), dtype=np.float32)
    trusted = _anchors(task, settings)
    centres, opinions = _polished(task, features, trusted, settings)
    verdict = prototypes.verdicts(opinions, labels, settings.sure)
    # anchors are what prototypes are made of: they are not thrown out by them
    verdict[trusted & (verdict == OUTSIDE)] = prototypes.KEEP
    ranking = Ranking(
        suspicion=-of_given(opinions, labels),
        own=verdict != prototypes.KEEP,
        columns={
            "outsider_score": outsider_score(features @ centres.T, opinions, labels)
        },
        facts={"relabelled": int((verdict == RELABEL).sum())},
    )
    found = from_ranking(task, ranking, settings)
    outside = found.flagged & (verdict == OUTSIDE)
    return replace(found, suggested=np.where(outside, NONE, found.suggested))


def _anchors(task: Task, settings: Settings) -> np.ndarray:
    """[n] bool, pictures that stand for their class."""
    labels = task.data.labels
    if task.data.side_texts is not None:
        distances = _by_side_texts(task, task.data.side_texts)
    elif task.agreement.verdict in (LITTLE, NOTHING):
        # names that say nothing would choose at random
        distances = 1 - of_given(task.out_of_fold(), labels)
    else:
        distances = 1 - of_given(task.zero_shot().cosines, labels)
    return prototypes.anchors(
        distances, labels, settings.anchors, settings.anchor_share
    )


def _by_side_texts(task: Task, texts: tuple[str, ...]) -> np.ndarray:
    """[n] how far what look-alikes tell is from the given class; the own text has no part."""
    features = np.asarray(task.image_features(), dtype=np.float32)
    classes = task.class_features()
    told = prototypes.smooth_texts(
        features, side_features(task.encoder, texts, classes.shape[1])
    )
    return prototypes.text_distances(told, classes, task.data.labels)


def side_features(
    encoder: DualEncoder, texts: tuple[str, ...], width: int
) -> np.ndarray:
    """[n, width] float32 of length one of side texts; zeros where there is none."""
    # titles and tags recur, and reading is the slow part
    distinct = sorted({text for text in texts if text})
    row = {text: number for number, text in enumerate(distinct, 1)}
    # row 0 is that of no text
    read = np.zeros((1 + len(distinct), width), dtype=np.float32)
    if distinct:
        shortened = [_fitting(encoder, text) for text in distinct]
        read[1:] = encoder.text_features(shortened).cpu().numpy()
    return read[[row.get(text, 0) for text in texts]]


def _fitting(encoder: DualEncoder, text: str) -> str:
    """The first words of a text, as many as the model reads, or nearly."""
    while True:
        try:
            encoder.tokenize([text])
        except ModelError:
            words = text.split()
            # one word that is too long is cut, too
            shorter = " ".join(words[: len(words) // 2]) or text[: len(text) // 2]
            if not shorter:
                raise
            text = shorter
        else:
            return text


def _polished(
    task: Task, features: np.ndarray, trusted: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Prototypes [k, d] and opinions [n, k]."""
    labels, k = task.data.labels, len(task.data.classes)
    # out of fold: no picture's own label is in what the probe says of it
    probs = task.out_of_fold().astype(np.float64)
    # the start: anchors alone
    centres = prototypes.means(features[trusted], labels[trusted], k)
    alpha, tau = settings.probe_share, settings.temperature
    opinions = prototypes.opinion(features, centres, probs, alpha, tau)
    for _ in range(settings.passes):
        verdict = prototypes.verdicts(opinions, labels, settings.sure)
        corrected = np.where(verdict == RELABEL, opinions.argmax(1), labels)
        # anchors keep their label, whatever is thought of them
        corrected[trusted] = labels[trusted]
        kept = trusted | (verdict != OUTSIDE)
        centres = prototypes.polish(
            centres, features, corrected, kept, settings.momentum
        )
        opinions = prototypes.opinion(features, centres, probs, alpha, tau)
    return centres, opinions


def outsider_score(
    cosines: np.ndarray, opinions: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """[n] in (0, 1], higher for pictures that are far from all classes.

    Args:
        cosines: [n, k] with prototypes. opinions: [n, k]. labels: [n] given.
    """
    # ranks, as the three are on scales of their own
    far = rankdata(-cosines.max(1)) + rankdata(-opinions.max(1))
    # whatever belongs to no class has a wrong label
    suspect = rankdata(-of_given(opinions, labels))
    score: np.ndarray = (far / 2 + suspect) / (2 * len(labels))
    return score
