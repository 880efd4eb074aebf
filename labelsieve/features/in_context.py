"""A second opinion on one picture: what a classifier says after a step on it and on a few examples.

After Yin, Zhang, Wu, Wang, "In-context Prompt Learning for Test-time Vision Recognition with Frozen
Vision-language Model" (InCPL, arXiv 2403.06126), of which only abstract and reviews could be read;
its part without examples is TPT (Shu et al., "Test-Time Prompt Tuning for Zero-Shot Generalization
in Vision-Language Models", NeurIPS 2022), read with the authors' code (azshue/TPT, MIT). Here on
features instead of tokens, so that no encoder is trained: a vector v is added to features x, and
one u_c to the weights of each competing class,

    p(. | x)  softmax over classes of (x + |x| v)·(w_c + |w_c| u_c) + b_c
    loss      H(mean p of the views that are surest) + λ mean CE(p of examples, their labels)

v takes one step of AdamW from zero, then u does (cyclic learning), and both are forgotten: no
picture's answer depends on another's. With λ = 0 and u alone it is TPT's step.

**The label of the picture has no part in it.** Competing classes are those that the classifier
itself finds likeliest, and each of them has as many examples as any other: with examples of other
classes than the picture's own, as reviewers found in the paper's evaluation, a model gains by
avoiding them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelsieve.settings import Above, AtLeast, AtMost, Bounded, Share

EPS = 1e-8  # of AdamW


@dataclass(frozen=True)
class Settings(Bounded):
    """TPT's settings, and what the paper does not tell (see the documentation)."""

    views: Annotated[int, AtLeast(1)] = 64  # the picture as it is, and random ones
    crop: Annotated[float, AtLeast(0.01), AtMost(1)] = 0.5  # least share of a view
    keep: Annotated[float, Above(0), Share()] = 0.1  # of views, the surest
    rivals: Annotated[int, AtLeast(2)] = 3  # competing classes
    shots: Annotated[int, AtLeast(0)] = 5  # examples of each
    strength: Annotated[float, AtLeast(0)] = 0.4  # λ
    lr: Annotated[float, AtLeast(0)] = 3e-3
    # what is answered about in the end: the picture, as in TPT, or the mean of all views
    answer: Literal["picture", "views"] = "views"
    visual: bool = True
    textual: bool = True


@dataclass(frozen=True)
class Head:
    """A linear classifier: weight [k, d], bias [k], float32."""

    weight: Tensor
    bias: Tensor


def adapt(
    views: Tensor, examples: Tensor, labels: Tensor, head: Head, settings: Settings
) -> Tensor:
    """Probabilities [b, k] after the steps, of the first view of each picture.

    Args:
        views: [b, v, d] features, the picture as it is first.
        examples: [b, e, d] features of examples; e may be 0.
        labels: [b, e] int64, classes of examples, those that compete.
    """
    b, _, d = views.shape
    rivals = likeliest(logits(views[:, :1], head)[:, 0], settings.rivals)
    # nothing of another picture is left in these
    visual = views.new_zeros(b, 1, d)
    textual = views.new_zeros(b, rivals.shape[1], d)
    kept = surest(logits(views, head), settings.keep)
    picked = views.gather(1, kept[:, :, None].expand(-1, -1, d))
    for name in ("visual", "textual"):
        if not getattr(settings, name):
            continue
        # the other one is where its step left it
        moved = visual if name == "visual" else textual
        moved.requires_grad_(True)
        with torch.enable_grad():
            answers = logits(picked, head, visual, textual, rivals)
            loss = marginal_entropy(answers).sum()
            if examples.shape[1] and settings.strength:
                known = logits(examples, head, visual, textual, rivals)
                wrong = F.cross_entropy(known.mT, labels, reduction="none").mean(1)
                loss = loss + settings.strength * wrong.sum()
            (gradient,) = torch.autograd.grad(loss, moved)
        # AdamW's first step from zero: nothing decays, and both averages are the gradient's own
        step = -settings.lr * gradient / (gradient.abs() + EPS)
        if name == "visual":
            visual = step
        else:
            textual = step
    # the picture as it is, as TPT does; or all views, of which random ones know as much together
    seen = views[:, :1] if settings.answer == "picture" else views
    with torch.no_grad():
        return logits(seen, head, visual, textual, rivals).softmax(2).mean(1)


def logits(
    features: Tensor,
    head: Head,
    visual: Tensor | None = None,
    textual: Tensor | None = None,
    rivals: Tensor | None = None,
) -> Tensor:
    """[b, v, k] of features [b, v, d], moved by v [b, 1, d] and u [b, m, d] of rivals [b, m]."""
    if visual is not None:
        features = features + features.norm(dim=2, keepdim=True) * visual
    plain = features @ head.weight.T + head.bias
    if textual is None or rivals is None:
        return plain
    lengths = head.weight.norm(dim=1)[rivals][:, :, None]
    more = features @ (lengths * textual).mT
    # other classes keep their weights
    where = rivals[:, None].expand(-1, plain.shape[1], -1)
    return plain.scatter_add(2, where, more)


def likeliest(answers: Tensor, count: int) -> Tensor:
    """[b, m] the classes with the largest of logits [b, k], the likeliest first."""
    return answers.topk(min(count, answers.shape[1]), dim=1).indices


def surest(answers: Tensor, share: float) -> Tensor:
    """[b, s] int64, the views with the least entropy of logits [b, v, k]; at least one."""
    count = max(1, int(answers.shape[1] * share))
    log_p = answers.log_softmax(2)
    entropy = -(log_p.exp() * log_p).sum(2)
    return entropy.argsort(dim=1, stable=True)[:, :count]


def marginal_entropy(answers: Tensor) -> Tensor:
    """[b] entropy of the mean answer of views [b, s, k], computed among logarithms."""
    log_p = answers.log_softmax(2)
    mean = log_p.logsumexp(1) - np.log(answers.shape[1])
    return -(mean.exp() * mean).sum(1)


def draw(
    key: str, rivals: Sequence[int], pool: Mapping[int, np.ndarray], shots: int
) -> tuple[np.ndarray, np.ndarray]:
    """Examples of competing classes for one picture: rows and classes, `shots` of each.

    Drawn anew for each picture and from its key alone, so that the order of pictures decides
    nothing. A class with fewer examples has some of them more than once, as none may be rare: a
    model would learn to avoid it. One without any leaves the others without, too.

    Args:
        key: of the picture, such as its sample id; not its label.
        pool: class -> rows that may be drawn.
    """
    empty = np.empty(0, dtype=np.int64)
    if not shots or any(len(pool.get(c, empty)) == 0 for c in rivals):
        return empty, empty
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    rows, classes = [], []
    for number in rivals:
        among = pool[number]
        # each once before any is drawn twice
        order = np.concatenate(
            [generator.permutation(among) for _ in range(-(-shots // len(among)))]
        )
        rows.append(order[:shots])
        classes.append(np.full(shots, number))
    return np.concatenate(rows), np.concatenate(classes)
