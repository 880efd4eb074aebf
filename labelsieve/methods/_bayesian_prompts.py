"""Prompts that are drawn: a Gaussian for each class, and a generator from vectors to contexts.

Shapes: k classes, s samples, c tokens of a context, w width of the text tower, d of the common
space. See `labelsieve.methods.pbprompt` for the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from labelsieve.models.encoder import ClassTokens, DualEncoder

HIDDEN = 64  # of both small networks: a context has little to say
HEADS = 4
PROMPTS_AT_ONCE = 256  # prompts that keep their states for the gradient: as whole texts


class BayesianPrompts(nn.Module):
    """q(r_c) = N(μ_c, diag σ_c²) for each class, and contexts G(r_c) [c, w].

    Before training μ_c is the name's own vector, and G gives the words of the template.

    Args:
        names: e [k, w], vectors of the class names, each of mean 0 and variance 1.
        start: [c, w], the context before training.
        spread: σ before training.
        seed: of the networks' weights.
    """

    names: Tensor
    start: Tensor

    def __init__(self, names: Tensor, start: Tensor, spread: float, seed: int) -> None:
        super().__init__()
        width = names.shape[1]
        self.register_buffer("names", names)
        self.register_buffer("start", start)
        self.opening = math.log(spread)
        # torch's layers draw from the global generator: set for them, and put back
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(width, HIDDEN)
            self.outer = nn.Linear(HIDDEN, 2 * width)
            self.read = nn.Linear(width, HIDDEN)
            self.places = nn.Parameter(torch.randn(len(start), HIDDEN))
            self.attend = nn.TransformerEncoderLayer(
                HIDDEN, HEADS, 2 * HIDDEN, 0.0, batch_first=True, norm_first=True
            )
            self.write = nn.Linear(HIDDEN, width)
        # zero: every class starts at its name, every context at the template
        for layer in (self.outer, self.write):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def gaussians(self) -> tuple[Tensor, Tensor]:
        """Means and logarithms of the deviations, [k, w] each."""
        shift, log_spread = self.outer(torch.tanh(self.inner(self.names))).chunk(2, 1)
        return self.names + shift, self.opening + log_spread

    def divergence(self) -> Tensor:
        """KL(q || N(e, I)) per number, the mean over classes."""
        mean, log_spread = self.gaussians()
        return kl_to_names(mean, log_spread, self.names).mean()

    def contexts(self, noise: Tensor) -> Tensor:
        """[s, k, c, w] from noise [s, k, w], by reparametrisation r = μ + σ ε."""
        mean, log_spread = self.gaussians()
        latent = self.read(mean + log_spread.exp() * noise)
        slots = (latent[:, :, None] + self.places).flatten(0, 1)
        moved = self.write(self.attend(slots)).unflatten(0, noise.shape[:2])
        # as large as token vectors are, whatever the tower: they are small numbers
        return self.start + self.start.square().mean().sqrt() * moved


def kl_to_names(mean: Tensor, log_spread: Tensor, names: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) || N(e, I)) for each number, of any shape."""
    distance = (mean - names) ** 2
    return 0.5 * (torch.exp(2 * log_spread) + distance - 1) - log_spread


def name_vectors(encoder: DualEncoder, names: Sequence[str]) -> Tensor:
    """Mean of each name's token vectors, brought to mean 0 and variance 1: e [k, w] float32.

    Token vectors are small numbers, and the prior's deviation is 1.
    """
    rows = [
        encoder.embed_tokens(encoder.word_ids(name)).float().mean(0) for name in names
    ]
    return F.layer_norm(torch.stack(rows), rows[0].shape)


def features(encoder: DualEncoder, tokens: ClassTokens, contexts: Tensor) -> Tensor:
    """[s, k, d] float32 of length one, of contexts [s, k, c, w] before each class's own name."""
    texts, ends = [], []
    for row in range(len(tokens.ids)):
        own = tokens.take(torch.tensor([row], device=tokens.ids.device))
        text, end = encoder.prompt_embeddings(contexts[:, row], own)
        texts.append(text)
        ends.append(end)
    whole, end = torch.cat(texts), torch.cat(ends)
    if encoder.causal:
        # what follows the last end is never looked at
        whole = whole[:, : int(end.max()) + 1]
    parts = [
        _encoded(encoder, text, at)
        for text, at in zip(
            whole.split(PROMPTS_AT_ONCE), end.split(PROMPTS_AT_ONCE), strict=True
        )
    ]
    vectors = F.normalize(torch.cat(parts).float(), dim=-1)
    return vectors.unflatten(0, (len(tokens.ids), -1)).transpose(0, 1)


def _encoded(encoder: DualEncoder, text: Tensor, end: Tensor) -> Tensor:
    if len(text) < PROMPTS_AT_ONCE or not torch.is_grad_enabled():
        return encoder.encode_texts(text, end)
    # many classes: computed once more for the gradient instead of kept
    again: Tensor = checkpoint(encoder.encode_texts, text, end, use_reentrant=False)
    return again
