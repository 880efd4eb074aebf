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
- Labels are judged in a pass of its own, without augmentation, and by Bayes' rule: the class probabilities of the
  positive prompts, times those of the untouched model, times the probability T[k, y] that class k is labelled y. The
  first know these data but have learned from wrong labels; the second know nothing of the labels, and T is found with
  them. Where the untouched model does not know the classes and a probe foretells the labels better, T comes from that
  (labelsieve.estimate, "Witnesses") and the positive prompts count twice. The learned threshold alone asks whether a
  class is likelier than chance given the noisy labels, and lets frequent human confusions pass.
Preset `fast` trains prompts and a small map on cached features instead of tuning the tower.

Shapes: b images, n images in all, k classes, m context tokens, d width of the common space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve import estimate, losses, progress, tuning
from labelsieve.agreement import witnesses
from labelsieve.augment import crop_and_mirror
from labelsieve.dataset import LabelledImages
from labelsieve.errors import OptionError, unknown
from labelsieve.features import image_features, softmax, temperature_facts, temperature_of, zero_shot
from labelsieve.methods import Evidence, Workplace
from labelsieve.models import ClassTokens, DualEncoder
from labelsieve.prompts import DualPrompts
from labelsieve.training import Batch, Recipe, fit

COST = "a few passes forward and backward through the frozen image tower; with --fast one pass forward"
NEEDS = ("text", "pixels")
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"tuning": "features", "epochs": 15, "batch_size": 256, "image_lr": 2e-3},
    "paper": {
        "tuning_size": 20, "context_length": 16, "context_start": "random", "epochs": 10, "warmup_epochs": 1,
        "optimizer": "sgd", "image_lr": 0.03, "text_lr": 0.03, "schedule": "cosine", "judge": "threshold", "scoring": "last-epoch",
    },
}  # fmt: skip
HELD_OUT = 0.1  # share of the images whose noisy labels decide when the warm-up ends
DOUBT = (0.7, 1.4)  # the class probabilities might as well have these temperatures: they widen the interval of the rate


@dataclass(frozen=True)
class Settings:
    """See the module's docstring for the presets."""

    tuning: str = "vpt-deep"  # how the image side adapts: a name of labelsieve.tuning.KINDS, or "features"
    tuning_size: int | None = (
        None  # visual prompt tokens a block, rank or width; auto: a quarter of the tokens, at most 20
    )
    context_length: int = 16  # context vectors before each class name, where they start at random
    context_start: Literal["template", "random"] = "template"
    epochs: int = 6
    warmup_epochs: int | None = None  # epochs that trust every label; auto: until held-out noisy accuracy stops rising
    optimizer: Literal["adamw", "sgd"] = "adamw"
    image_lr: float = 5e-3
    text_lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "smooth"] = "smooth"
    batch_size: int = 64
    accumulate: int = 1
    judge: Literal["posterior", "threshold"] = "posterior"
    rule: Literal["threshold", "real"] = "threshold"  # "real": selected labels must also be the best class; SCE warm-up
    scoring: Literal["final", "last-epoch"] = "final"
    mirror: bool = True  # augmentation mirrors pictures

    def __post_init__(self) -> None:
        if self.tuning not in (*tuning.KINDS, "features"):
            raise OptionError(unknown("--tuning", self.tuning, (*tuning.KINDS, "features")))
        for name, bound in (("image_lr", 0), ("text_lr", 0), ("context_length", 1)):
            if getattr(self, name) < bound:
                raise OptionError(f"Setting {name} cannot be {getattr(self, name)}.", f"It is at least {bound}.")
        _recipe(self)  # refuses numbers that cannot be


@dataclass(frozen=True)
class Step:
    """Everything one step computes; logits are scaled cosines, [b, k] float32."""

    positive: Tensor
    negative: Tensor
    p_clean: Tensor  # [b]
    selected: Tensor  # [b] bool
    loss_class: Tensor
    loss_dual: Tensor

    @property
    def loss(self) -> Tensor:
        """What is minimised."""
        return self.loss_class + self.loss_dual


class Detector:
    """Dual prompts and an adapted image side: the model that DeFT learns.

    With `adapter` [d, d], pictures are given as frozen features and pass through f + f A instead of the tower.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        tokens: ClassTokens,
        prompts: DualPrompts,
        tuned: tuning.Tuning,
        adapter: nn.Parameter | None = None,
    ) -> None:
        self.encoder, self.tokens, self.prompts, self.tuned, self.adapter = encoder, tokens, prompts, tuned, adapter

    def image_parameters(self) -> dict[str, nn.Parameter]:
        """What learns on the image side."""
        return dict(self.tuned.parameters) if self.adapter is None else {"adapter": self.adapter}

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns."""
        return {"contexts": self.prompts.contexts, **self.image_parameters()}

    def image_features(self, pictures: Tensor) -> Tensor:
        """Normalised pixels [b, 3, h, w], or frozen features [b, d] with an adapter -> [b, d] float32 of length one."""
        if self.adapter is None:
            return self.encoder.image_features(pictures, self.tuned.tokens())
        return F.normalize(pictures + pictures @ self.adapter, dim=-1)

    def logits(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Positive and negative logits [b, k].

        The negative prompts get no gradient through the image side (image features detached, as in the paper).
        """
        features = self.image_features(pictures)
        positive, negative = self.prompts.both(self.encoder, self.tokens)
        scale = self.encoder.logit_scale
        return scale * features @ positive.T, scale * features.detach() @ negative.T

    def step(
        self, pictures: Tensor, labels: Tensor, complementary: Tensor, *, selecting: bool, rule: str = "threshold"
    ) -> Step:
        """One training step's losses (Wei et al. 2024, eq. 3-5).

        Args:
            pictures: what `image_features` takes.
            labels: [b] given labels.
            complementary: [b] a random other class of each.
            selecting: False in the warm-up, where every label is trusted.
            rule: "real" adds the argmax condition and warms up with symmetric cross-entropy, as the authors' script
                for real-world noise does.
        """
        positive, negative = self.logits(pictures)
        p_yes = losses.clean_probability(positive.detach(), negative)
        p_clean = p_yes.gather(1, labels[:, None])[:, 0]
        selected = p_clean > 0.5
        if rule == "real":
            selected = selected & (p_yes.argmax(1) == labels)
        if selecting:
            target = torch.where(selected, labels, positive.argmax(1))
            loss_class = losses.selected_mean(losses.cross_entropy(positive, labels), selected)
        else:
            target = labels
            warmup = losses.symmetric_cross_entropy if rule == "real" else losses.cross_entropy
            loss_class = warmup(positive, labels).mean()
        loss_dual = losses.dual_prompt_loss(p_yes, target, complementary).mean()
        return Step(positive, negative, p_clean.detach(), selected.detach(), loss_class, loss_dual)

    @torch.no_grad()
    def judge(
        self, images: LabelledImages, features: np.ndarray | None = None, batch_size: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative logits [n, k] of all pictures as they are, in a pass without augmentation.

        Args:
            features: frozen features [n, d], needed with an adapter.
        """
        positive, negative = self.prompts.both(self.encoder, self.tokens)
        text = torch.cat([positive, negative]).T * self.encoder.logit_scale
        out = np.empty((len(images), text.shape[1]), dtype=np.float32)
        with progress.bar("Scoring", len(images)) as shown:
            for start in range(0, len(images), batch_size):
                rows = np.arange(start, min(start + batch_size, len(images)))
                out[rows] = (self.image_features(_pictures(images, rows, features, self.encoder)) @ text).cpu().numpy()
                shown.advance(len(rows))
        return out[:, : len(positive)], out[:, len(positive) :]


def _pictures(images: LabelledImages, rows: np.ndarray, features: np.ndarray | None, encoder: DualEncoder) -> Tensor:
    """What a detector takes of the given rows, without augmentation."""
    if features is None:
        return encoder.normalise(images.pixels(rows))
    return torch.from_numpy(np.asarray(features[rows], dtype=np.float32)).to(encoder.device)


def complementary_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each label [b] a random other class."""
    return (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes


def build(images: LabelledImages, encoder: DualEncoder, settings: Settings, seed: int) -> Detector:
    """A detector before training."""
    generator = torch.Generator().manual_seed(seed)
    template = images.template if settings.context_start == "template" else None
    prompts = DualPrompts.start(encoder, template, settings.context_length, 0.1, generator)
    tokens = encoder.class_tokens(images.names, prompts.length)
    if settings.tuning == "features":
        width = encoder.text_features(["a"]).shape[1]
        return Detector(
            encoder, tokens, prompts, tuning.Tuning(), nn.Parameter(torch.zeros(width, width, device=encoder.device))
        )
    size = settings.tuning_size or tuning.fitting_size(encoder)
    return Detector(encoder, tokens, prompts, tuning.build(settings.tuning, encoder, size, generator))


def detect(images: LabelledImages, encoder: DualEncoder, settings: Settings, run: Workplace) -> Evidence:
    """Train the detector on all images and judge their labels."""
    frozen = image_features(images, encoder)  # of the untouched tower, before adapters are put into it
    asked = witnesses(images, encoder, run.seed)
    witness, transition = estimate.believe({n: estimate.fit_transition(p, images.labels, run.seed) for n, p in asked.items()})  # fmt: skip
    plain = transition.mend(asked["text"]) if witness == "text" else None
    detector = build(images, encoder, settings, run.seed)
    seen = _train(detector, images, frozen, settings, run)
    learned = {
        **{name: p.detach() for name, p in detector.parameters().items()},
        "transition": torch.from_numpy(transition.matrix),
    }
    if plain is not None:
        learned["class_weights"] = torch.from_numpy(transition.weights)
        learned["temperature"] = torch.tensor(transition.temperature)
    positive, negative = detector.judge(images, frozen if detector.adapter is not None else None)
    evidence = _evidence(positive, negative, images.labels, plain, settings, learned)
    if settings.scoring == "last-epoch":
        evidence = replace(evidence, p_clean=seen["p_clean"].double().numpy(), flagged=~seen["selected"].numpy())
    if settings.judge == "posterior":
        doubts = tuple(_rate(_posterior(positive, plain, images.labels, transition.matrix, t), images.labels) for t in DOUBT)  # fmt: skip
        evidence = replace(evidence, rates=(*transition.rates, *doubts))
    facts = temperature_facts(temperature_of(encoder, None), own=True)
    return replace(evidence, facts={**facts, "transition_from": witness})


def judge(images: LabelledImages, encoder: DualEncoder, settings: Settings, learned: dict[str, Tensor]) -> Evidence:
    """Judge the labels of other images with a trained detector."""
    plain = _untouched(images, encoder, learned)  # before adapters are put into the tower
    detector = build(images, encoder, settings, 0)
    with torch.no_grad():
        for name, parameter in detector.parameters().items():
            parameter.copy_(learned[name])
    positive, negative = detector.judge(
        images, image_features(images, encoder) if detector.adapter is not None else None
    )
    return _evidence(positive, negative, images.labels, plain, settings, learned)


def _untouched(images: LabelledImages, encoder: DualEncoder, learned: dict[str, Tensor]) -> np.ndarray | None:
    """[n, k] class probabilities of the untouched model, mended as in training; None where it was not believed there."""
    if "class_weights" not in learned:
        return None
    soft = estimate.soften(zero_shot(images, encoder).probs(), float(learned["temperature"]))
    return estimate.reweigh(soft, learned["class_weights"].cpu().numpy())


def _train(
    detector: Detector, images: LabelledImages, frozen: np.ndarray, settings: Settings, run: Workplace
) -> dict[str, Tensor]:
    """Train in place; gives what was seen of each image last: p_clean and whether it was selected."""
    n, k, device = len(images), len(images.classes), detector.encoder.device
    held_out = _held_out(n, run.seed) if settings.warmup_epochs is None and n >= 10 * k else np.empty(0, dtype=np.int64)
    seen = {
        "p_clean": torch.zeros(n),
        "selected": torch.zeros(n, dtype=torch.bool),
        "warm": torch.ones(1),
        "accuracy": torch.zeros(settings.epochs),
    }
    labels = torch.from_numpy(images.labels)
    on_features = detector.adapter is not None

    def load(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(frozen[rows], dtype=np.float32)) if on_features else images.pixels(rows)

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        given = labels[batch.rows]
        other = complementary_labels(given, k, batch.generator).to(device)
        pictures = (
            loaded.to(device) if on_features else _augmented(loaded, detector.encoder, batch.generator, settings.mirror)
        )
        warm = bool(seen["warm"]) if settings.warmup_epochs is None else batch.epoch < settings.warmup_epochs
        step = detector.step(pictures, given.to(device), other, selecting=not warm, rule=settings.rule)
        seen["p_clean"][batch.rows], seen["selected"][batch.rows] = step.p_clean.cpu(), step.selected.cpu()
        return step.loss

    def after_epoch(epoch: int) -> bool:
        if len(held_out):
            seen["accuracy"][epoch - 1] = _accuracy(detector, images, held_out, frozen if on_features else None)
            seen["warm"][0] = float(still_rising(seen["accuracy"][:epoch].numpy(), len(held_out)))
        return False

    fit(
        detector.parameters(), np.setdiff1d(np.arange(n), held_out), load, loss_of, _recipe(settings), seed=run.seed,
        rates={"contexts": settings.text_lr}, what="Training prompts", memory=seen, checkpoint=run.checkpoint("deft"), after_epoch=after_epoch,
    )  # fmt: skip
    return seen


def _recipe(settings: Settings) -> Recipe:
    return Recipe(
        epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.image_lr, optimizer=settings.optimizer, momentum=settings.momentum,
        weight_decay=settings.weight_decay, schedule=settings.schedule, accumulate=settings.accumulate,
    )  # fmt: skip


def _augmented(pixels: Tensor, encoder: DualEncoder, generator: torch.Generator, mirror: bool) -> Tensor:
    return crop_and_mirror(encoder.normalise(pixels), generator, mirror=mirror)


def _held_out(n: int, seed: int) -> np.ndarray:
    """Rows [h] that are not trained on while the end of the warm-up is being decided."""
    return np.sort(np.random.default_rng([seed, 1]).choice(n, min(2000, int(HELD_OUT * n)), replace=False))


@torch.no_grad()
def _accuracy(detector: Detector, images: LabelledImages, rows: np.ndarray, features: np.ndarray | None) -> float:
    """Share of held-out images whose given label is the best positive class."""
    text = detector.prompts.positive(detector.encoder, detector.tokens)
    parts = [
        (detector.image_features(_pictures(images, part, features, detector.encoder)) @ text.T).argmax(1).cpu().numpy()
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
    plain: np.ndarray | None,
    settings: Settings,
    learned: dict[str, Tensor],
) -> Evidence:
    """Judge labels [n] from positive and negative logits [n, k] and the untouched model's answers, if believed."""
    each = np.arange(len(labels))
    threshold = 1 / (1 + np.exp(negative[each, labels] - positive[each, labels]))
    columns = {"positive_logit": positive[each, labels], "negative_logit": negative[each, labels]}
    if settings.judge == "threshold":
        flagged = threshold <= 0.5
        if settings.rule == "real":
            flagged |= (positive - negative).argmax(1) != labels
        probs = softmax(positive)
        return Evidence(threshold.astype(np.float64), flagged, probs.argmax(1), probs, columns, learned)
    posterior = _posterior(positive, plain, labels, learned["transition"].cpu().numpy())
    p_clean = posterior[each, labels].astype(np.float64)
    flagged = estimate.flag_by_f1(1 - p_clean)
    return Evidence(
        p_clean, flagged, estimate.suggestions(posterior, labels, flagged), posterior, columns, learned, posterior=True
    )


def _posterior(
    positive: np.ndarray, plain: np.ndarray | None, labels: np.ndarray, transition: np.ndarray, temperature: float = 1.0
) -> np.ndarray:
    """[n, k] probability of each class, given picture and label: two votes on the picture, times T[:, label].

    The votes are the softmax of the positive logits and `plain` [n, k], or twice the former.
    """
    votes = positive.astype(np.float64) + (positive if plain is None else np.log(plain.clip(1e-12)))
    return estimate.reweigh(softmax(votes / temperature), transition[:, labels].T)


def _rate(posterior: np.ndarray, labels: np.ndarray) -> float:
    return float(1 - posterior[np.arange(len(labels)), labels].mean())
