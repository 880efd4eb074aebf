"""A step on prompt tokens in both towers, for one picture: InCPL with the encoders inside.

After Yin, Zhang, Wu, Wang, "In-context Prompt Learning for Test-time Vision Recognition with Frozen
Vision-language Model" (InCPL, arXiv 2403.06126), of which only abstract and reviews could be read.
Textual tokens P_t begin as the words "a photo of a" before the class names, visual ones as
P_v = F(P_t) beside the patches; the language-to-vision translator F is fixed here (`translate`).
P_v takes one step of AdamW, then P_t does (cyclic learning), on the loss of
`labelsieve.features.in_context`; then both are as they were.

The head of a classifier is not a row of class texts, so a text moves its class as far as it turns:

    logit_c(x)  w_c·x + b_c + |w_c| |x| (cos(x', t_c) - cos(x', t_c before the step))

with x' the picture in the common space. A head that is the class texts has InCPL's own logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve.classifiers.adaptation._examples import (
    LESS,
    Examples,
    features,
    weights,
)
from labelsieve.classifiers.classifier import Classifier, too_much
from labelsieve.data.dataset import prompt_name
from labelsieve.errors import ModelError, OptionError
from labelsieve.features import in_context
from labelsieve.features.in_context import EPS
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import load_encoder
from labelsieve.runs.run import Run
from labelsieve.settings import AtLeast

WORDS = "a photo of a"

# share of a random map in the tokens at their start, beside a gray patch. The map alone, at the
# size of VPT's start, costs 8 points of accuracy before any step: a tower never saw such tokens.
# Of .1 and .3 the smaller was taken: on 200 pictures of `random_label1` (rows 0-7,999) the two
# cannot be told apart.
DIRECTIONS = 0.1


@dataclass(frozen=True)
class Settings(in_context.Settings):
    """The step is a share of the tokens' root mean square, as towers have tokens of many sizes.

    TPT's 5e-3 is about a third of that of CLIP's words. A tenth costs less: of the 200 most
    doubtful pictures of five draws of `random_label1` (rows 0-7,999) a third gets 48.9 % right,
    a tenth 50.1 %, tokens that stay 50.3 %.
    """

    lr: Annotated[float, AtLeast(0)] = 0.1


class OnTokens:
    """Prompt tokens in the towers of the model that a classifier was taken from.

    Args:
        head: the last layer of the classifier.
        run: a scan with that model, whose trusted pictures are the examples.

    Raises:
        OptionError: the classifier is no image tower of the scan's model.
    """

    settings = Settings

    def __init__(
        self,
        opened: Classifier,
        head: nn.Linear,
        run: Run,
        settings: in_context.Settings,
    ) -> None:
        self._opened, self._layer, self._settings = opened, head, settings
        self._weight, self._bias = weights(head)
        self._lengths = self._weight.norm(dim=1)
        self.examples = Examples(opened, run, settings.shots)
        command = run.record["command"]
        self._encoder = _encoder(opened, str(command["model"]))
        words = self._encoder.word_ids(WORDS)
        self._words = self._encoder.embed_tokens(words).float()
        # as the scan wrote them into prompts
        named = command["class_names"]
        names = [named.get(c) or prompt_name(c) for c in opened.classes]
        self._names = self._encoder.class_tokens(names, len(self._words))
        self._beside = translate(self._words, self._encoder)

    def answer(self, views: Tensor, content: str) -> Tensor:
        """Probabilities [k] from views [v, 3, h, w] of a picture, ready for the model."""
        own = self._settings
        plain = features(self._opened, self._layer, views)
        before = (plain @ self._weight.T + self._bias)[None]
        rivals = in_context.likeliest(before[:, 0], own.rivals)[0]
        kept = in_context.surest(before, own.keep)[0]
        rows, classes = self.examples.drawn(content, rivals.tolist())
        shown, labels = views[kept], torch.from_numpy(classes).to(views.device)
        if len(rows):
            shown = torch.cat([shown, self.examples.ready(rows)])
        visual, textual = self._beside, self._words
        with too_much(LESS):
            if own.visual:
                visual = self._step(visual, textual, shown, labels, rivals, True)
            if own.textual:
                textual = self._step(visual, textual, shown, labels, rivals, False)
            seen = views[:1] if own.answer == "picture" else views
            with torch.no_grad():
                answers = self._logits(seen, visual, textual, rivals)
        return answers.softmax(1).mean(0)

    def _step(
        self,
        visual: Tensor,
        textual: Tensor,
        shown: Tensor,
        labels: Tensor,
        rivals: Tensor,
        of_visual: bool,
    ) -> Tensor:
        """Where one of the two is after its step; the other stays where it is."""
        moved = (visual if of_visual else textual).clone().requires_grad_(True)
        pair = (moved, textual) if of_visual else (visual, moved)
        with torch.enable_grad():
            answers = self._logits(shown, *pair, rivals)
            views = len(shown) - len(labels)
            loss = in_context.marginal_entropy(answers[None, :views])[0]
            if len(labels) and self._settings.strength:
                wrong = F.cross_entropy(answers[views:], labels)
                loss = loss + self._settings.strength * wrong
            (gradient,) = torch.autograd.grad(loss, moved)
        size = moved.detach().square().mean().sqrt()
        # AdamW's first step: both averages are the gradient's own
        change = self._settings.lr * size * gradient / (gradient.abs() + EPS)
        return moved.detach() - change

    def _logits(
        self, pixels: Tensor, visual: Tensor, textual: Tensor, rivals: Tensor
    ) -> Tensor:
        """[b, k] of pictures with visual tokens [p, image_width], textual ones [m, text_width]."""
        encoder = self._encoder
        pooled = encoder.image_pooled(pixels.to(encoder.dtype), [visual])
        common = F.normalize(encoder.project_image(pooled).float(), dim=1)
        given = common if self._opened.backbone.common else pooled.float()
        plain = given @ self._weight.T + self._bias
        if textual is self._words:
            return plain
        turned = self._texts(textual, rivals) - self._texts(self._words, rivals)
        reach = given.norm(dim=1, keepdim=True) * self._lengths[rivals]
        return plain.index_add(1, rivals, reach * (common @ turned.T))

    def _texts(self, words: Tensor, rivals: Tensor) -> Tensor:
        """[m, d] of length one: competing classes behind the words."""
        names = self._names.take(rivals.to(self._names.ids.device))
        return self._encoder.prompt_features(words[None], names)[0]


@torch.no_grad()
def translate(words: Tensor, encoder: DualEncoder) -> Tensor:
    """F: textual tokens [m, text_width] -> visual ones [m, image_width], float32.

    How the paper's translator is trained is not known. This one is fixed: a patch of a gray
    picture, which the tower knows as nothing worth a look, and `DIRECTIONS` of a random map of
    the words, so that each token takes a step of its own.

    Raises:
        ModelError: the family has no patches.
    """
    gray = encoder.image_start(encoder.normalise(encoder.blank()))[0].float()
    rows = encoder.preprocess.height // encoder.patch_size
    columns = encoder.preprocess.width // encoder.patch_size
    patch = gray[-rows * columns :].mean(0)
    generator = torch.Generator().manual_seed(0)
    # drawn on the CPU, so that every device begins with the same numbers
    drawn = torch.randn((words.shape[1], len(patch)), generator=generator)
    mapped = words @ drawn.to(words.device)
    return patch + DIRECTIONS * patch.std() / mapped.std() * mapped


def _encoder(opened: Classifier, name: str) -> DualEncoder:
    """The model of a scan with the classifier's image tower in the place of its own."""
    help = "Use --adapt in-context, which moves features and asks no tower."
    try:
        encoder = load_encoder(name, device=opened.device, dtype=opened.dtype)
    except ModelError as error:
        raise OptionError(
            f"--adapt in-context-tokens needs the model of the scan: {error.what}",
            help,
        ) from error
    tower = encoder.image_tower.state_dict()
    mine = opened.backbone.model.state_dict()
    ends = next(iter(tower))
    prefixes = [name.removesuffix(ends) for name in mine if name.endswith(ends)]
    for prefix in prefixes:
        own = {key: mine.get(prefix + key) for key in tower}
        if all(t is not None and t.shape == tower[k].shape for k, t in own.items()):
            encoder.image_tower.load_state_dict(own)
            return encoder
    raise OptionError(
        f"--adapt in-context-tokens needs a classifier that is an image tower of '{name}'.",
        help,
    )
