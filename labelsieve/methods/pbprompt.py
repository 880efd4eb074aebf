"""PBPrompt: class texts that know their doubt, and patches that say where a label is wrong.

After Liu, Wang, Fang, Li, Xu, Duan, Chen, Zhou, "Patch-Prompt Aligned Bayesian Prompt Tuning for
Vision-Language Models", UAI 2024 (arXiv 2303.09100). Its code was never released and its sizes are
not known to us, so this follows the paper's idea and reproduces none of its figures:

    r_c ~ q(r_c) = N(μ_c, diag σ_c²)        of each class, prior N(e_c, I), e_c its name
    context_c = G(r_c)                      one block of self-attention over the context's places
    p(c | x) = softmax_c(scale · v · h_c)   h_c = text tower of [context_c, name], frozen
    loss = fit + kl · KL(q || prior) + η · CT(patches of x, the prompts of its label)

with samples by reparametrisation and the log-mean of their probabilities; KL is the mean over
numbers and weighs 0.001 (Derakhshani et al., ICCV 2023: in full it would bring q back to the
prior). CT is `labelsieve.methods._patches.conditional_transport`.

Ours: the fit is generalised cross-entropy, and CT weighs p^q of the label, so that what is
probably wrong pulls no prompt to its patches; patches are averaged to a grid of cells, which is
kept in the cache; out of fold, as `robust_prompt`. The score of a label is the mean of its
probability over samples. Columns:

    p_spread      deviation of p_clean over samples
    surely_wrong  1 where p_clean + z · p_spread is below one half, else 0
    transport     CT of the label's prompts minus its mean over the classes; higher is worse
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from labelsieve.estimation.calibration import of_given
from labelsieve.features.cached import Patches
from labelsieve.features.probe import split
from labelsieve.features.task import Task
from labelsieve.methods import Evidence, Heat
from labelsieve.methods import _bayesian_prompts as prompts
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.methods._patches import (
    TEMPERATURE,
    conditional_transport,
    disagreement,
)
from labelsieve.models.prompts import DualPrompts
from labelsieve.settings import Above, AtLeast, Share
from labelsieve.training.loop import Batch, Problem, Recipe, fit

COST = (
    "two passes of the image tower (cached); every step runs the text tower over all class names, "
    "once for each sample, in each fold"
)
NEEDS = ("text", "pixels")
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"samples": 1, "epochs": 3, "draws": 5},
}
MOST_MAPS = 2000  # pictures that get a map: those a person looks at first
FINEST = 16  # cells a side of a map: finer ones show noise
ROWS_AT_ONCE = 1024  # pictures whose patches are compared at once: some hundred MB


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    samples: Annotated[int, AtLeast(1)] = 2  # S while training
    draws: Annotated[int, AtLeast(2)] = 10  # S when labels are judged
    spread: Annotated[float, Above(0)] = 0.3  # σ before training
    kl: Annotated[float, AtLeast(0)] = 1e-3
    # η: 1 is a little worse (see the documentation)
    eta: Annotated[float, AtLeast(0)] = 0.1
    temperature: Annotated[float, Above(0)] = TEMPERATURE
    cells: Annotated[int, AtLeast(1)] = 4  # a side
    q: Annotated[float, AtLeast(1e-3)] = 0.7
    folds: Annotated[int, AtLeast(2)] = 3
    epochs: Annotated[int, AtLeast(0)] = 6
    lr: Annotated[float, AtLeast(0)] = 2e-3
    batch_size: Annotated[int, AtLeast(1)] = 256
    z: Annotated[float, AtLeast(0)] = (
        1.64  # deviations below which a label is surely wrong
    )
    maps: Annotated[float, Share()] = 1.0  # share of the flagged that get a map

    def recipe(self) -> Recipe:
        """How prompts are optimised."""
        return Recipe(
            self.epochs, self.batch_size, self.lr, "adamw", 0.9, 5e-4, schedule="smooth"
        )


class Judged(NamedTuple):
    """What prompts of the other folds say.

    probs: [n, k], mean over samples. given: [s, n], of the label. transport: [n].
    texts: [folds, k, d], mean of the prompts. fold: [n].
    """

    probs: np.ndarray
    given: np.ndarray
    transport: np.ndarray
    texts: np.ndarray
    fold: np.ndarray


def detect(task: Task, settings: Settings) -> Evidence:
    """Learn prompts out of fold; judge labels by many drawn ones."""
    task = seen(task, settings)
    judged = _judged(task, settings)
    labels = task.data.labels
    given = of_given(judged.probs, labels)
    ranking = Ranking(-given, own=judged.probs.argmax(1) != labels)
    found = from_ranking(task, ranking, settings)
    each = through_curve(judged.given, given, found.p_clean)
    spread = each.std(0)
    sure = found.flagged & (found.p_clean + settings.z * spread < 0.5)
    columns = {
        "p_spread": spread,
        "surely_wrong": sure.astype(np.float64),
        "transport": judged.transport,
    }
    facts = {"surely_wrong": int(sure.sum())}
    return replace(
        found,
        columns={**found.columns, **columns},
        facts={**found.facts, **facts},
        heat=_heat(task, found, judged, settings),
    )


def through_curve(
    each: np.ndarray, scores: np.ndarray, p_clean: np.ndarray
) -> np.ndarray:
    """[s, n] p_clean of each sample: what labels with such a score have.

    Args:
        each: [s, n] scores of single samples. scores, p_clean: [n], increasing together.
    """
    order = np.argsort(scores, kind="stable")
    return np.interp(each, scores[order], p_clean[order])


def _judged(task: Task, settings: Settings) -> Judged:
    """Every label by prompts that have not seen it."""
    labels, k = task.data.labels, len(task.data.classes)
    n = len(labels)
    fold = split(labels, settings.folds, task.seed)
    probs = np.empty((n, k), dtype=np.float32)
    given = np.empty((settings.draws, n), dtype=np.float32)
    transport = np.empty(n)
    texts = []
    for number in range(int(fold.max()) + 1):
        drawn = learn(task, np.flatnonzero(fold != number), settings, number)
        rows = np.flatnonzero(fold == number)
        probs[rows], given[:, rows] = _said(task, rows, drawn)
        transport[rows] = _transported(task, rows, drawn, settings)
        texts.append(drawn.mean(0).cpu().numpy())
    return Judged(probs, given, transport, np.stack(texts), fold)


def learn(task: Task, rows: np.ndarray, settings: Settings, fold: int) -> Tensor:
    """Prompts learned on `rows`: drawn class features [s, k, d], float32 of length one."""
    encoder, seed = task.encoder, task.seed
    model, tokens = opening(task, settings)
    local = task.image_features(Patches(settings.cells))
    whole = task.image_features()
    target = torch.from_numpy(task.data.labels).to(encoder.device)
    shape = model.names.shape

    def load(some: np.ndarray) -> tuple[Tensor, Tensor]:
        both = (np.asarray(values[some], dtype=np.float32) for values in (whole, local))
        first, second = map(torch.from_numpy, both)
        return first, second.unflatten(1, (-1, first.shape[1]))

    def loss_of(batch: Batch, loaded: tuple[Tensor, Tensor]) -> Tensor:
        noise = torch.randn(settings.samples, *shape, generator=batch.generator)
        contexts = model.contexts(noise.to(encoder.device))
        text = prompts.features(encoder, tokens, contexts)
        whole, patches = (part.to(encoder.device) for part in loaded)
        given = target[batch.rows]
        fitted = objective(whole, patches, text, given, encoder, settings)
        return fitted + settings.kl * model.divergence()

    learned = dict(model.named_parameters())
    problem = Problem(learned, rows, load, loss_of, what="Training drawn prompts")
    kept = task.checkpoint(f"pbprompt-{fold}")
    fit(problem, settings.recipe(), seed=seed, checkpoint=kept)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(settings.draws, *shape, generator=generator)
    with torch.no_grad():
        contexts = model.contexts(noise.to(encoder.device))
        return prompts.features(encoder, tokens, contexts)


def opening(task: Task, settings: Settings) -> tuple[prompts.BayesianPrompts, Any]:
    """Prompts before training, and the tokens of the class names."""
    encoder = task.encoder
    generator = torch.Generator().manual_seed(task.seed)
    # where the template has no words: four random vectors, as in CoOp
    start = DualPrompts.start(encoder, task.data.template, 4, 0.0, generator)
    context = start.contexts.detach()[0]
    names = prompts.name_vectors(encoder, task.data.names)
    model = prompts.BayesianPrompts(names, context, settings.spread, task.seed)
    tokens = encoder.class_tokens(task.data.names, len(context))
    return model.to(encoder.device), tokens


def objective(
    whole: Tensor,
    patches: Tensor,
    text: Tensor,
    labels: Tensor,
    encoder: Any,
    settings: Settings,
) -> Tensor:
    """Mean over a batch of generalised cross-entropy and weighted transport.

    Args:
        whole: [b, d]. patches: [b, m, d]. text: [s, k, d]. labels: [b].
    """
    log_p = log_mean(encoder.logit_scale * whole @ text.transpose(1, 2))
    weight = torch.exp(settings.q * log_p.gather(1, labels[:, None])[:, 0])
    shares = text.new_full((len(text),), 1 / len(text))
    own = text[:, labels].transpose(0, 1)
    cost = conditional_transport(patches, own, shares, settings.temperature)
    fitted = (1 - weight) / settings.q
    # without gradient: a weight that learns would make all labels unlikely
    return (fitted + settings.eta * weight.detach() * cost).mean()


def log_mean(logits: Tensor) -> Tensor:
    """Logarithm of the mean probability over samples, [s, b, k] -> [b, k]."""
    log_p = logits.log_softmax(-1)
    return log_p.logsumexp(0) - np.log(len(logits))


def _said(task: Task, rows: np.ndarray, text: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean probabilities [m, k] of some rows, and those of their labels by sample [s, m]."""
    features = np.asarray(task.image_features()[rows], dtype=np.float32)
    seen = torch.from_numpy(features).to(text.device)
    labels = torch.from_numpy(task.data.labels[rows]).to(text.device)
    total = torch.zeros(len(rows), text.shape[1], device=text.device)
    given = []
    # one after the other: with many classes all of them would not fit into memory
    for drawn in text:
        probs = (task.encoder.logit_scale * seen @ drawn.T).softmax(1)
        total += probs
        given.append(probs.gather(1, labels[:, None])[:, 0])
    return (total / len(text)).cpu().numpy(), torch.stack(given).cpu().numpy()


def _transported(
    task: Task, rows: np.ndarray, text: Tensor, settings: Settings
) -> np.ndarray:
    """[m] cost of the label's prompts minus the mean over classes."""
    local = task.image_features(Patches(settings.cells))
    shares = text.new_full((len(text),), 1 / len(text))
    costs = np.empty((len(rows), text.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        values = torch.from_numpy(np.asarray(local[rows[part]], dtype=np.float32))
        seen = values.to(text.device).unflatten(1, (-1, text.shape[2]))
        for label in range(text.shape[1]):
            own = text[:, label]
            cost = conditional_transport(seen, own, shares, settings.temperature)
            costs[part, label] = cost.cpu().numpy()
    return of_given(costs, task.data.labels[rows]) - costs.mean(1)


def _heat(
    task: Task, found: Evidence, judged: Judged, settings: Settings
) -> Heat | None:
    """Maps of the most suspicious flagged pictures, against what is suggested instead."""
    rows = np.flatnonzero(found.flagged)
    most = min(MOST_MAPS, round(settings.maps * len(rows)))
    rows = np.sort(rows[np.argsort(found.p_clean[rows], kind="stable")][:most])
    if not len(rows):
        return None
    labels = task.data.labels[rows]
    others = found.probs[rows].copy()
    # the best of the wrong ones, also where nothing is suggested
    others[np.arange(len(rows)), labels] = -np.inf
    size = task.encoder.preprocess
    side = min(FINEST, min(size.height, size.width) // task.encoder.patch_size)
    values = torch.from_numpy(np.array(task.features.some(rows, Patches(side))))
    texts = torch.nn.functional.normalize(torch.from_numpy(judged.texts), dim=-1)
    fold = judged.fold[rows]
    maps = disagreement(
        values.unflatten(1, (side * side, -1)),
        texts[fold, labels],
        texts[fold, others.argmax(1)],
        task.encoder.logit_scale,
    )
    return Heat(rows, maps.reshape(-1, side, side).numpy())
