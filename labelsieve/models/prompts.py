"""Learned text contexts, one positive and one negative, shared by all classes.

Wei et al., "Vision-Language Models are Strong Noisy Label Detectors", NeurIPS 2024,
section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelsieve.models.encoder import ClassTokens, DualEncoder

SPREAD = 0.02  # standard deviation of a random start, as in the paper and in CoOp


class DualPrompts(nn.Module):
    """A positive and a negative context before every class name.

    Attributes:
        contexts: [2, m, text_width] float32 parameter; 0 is positive, 1 negative.
    """

    def __init__(self, contexts: Tensor) -> None:
        super().__init__()
        # float32 whatever the tower computes in: steps are too small for bfloat16
        self.contexts = nn.Parameter(contexts.float())

    @classmethod
    def random(
        cls, encoder: DualEncoder, length: int, generator: torch.Generator
    ) -> DualPrompts:
        """The paper's start: every number drawn from N(0, 0.02²)."""
        # drawn on the CPU, so that every device begins with the same numbers
        drawn = torch.randn(2, length, encoder.text_width, generator=generator)
        return cls((SPREAD * drawn).to(encoder.device))

    @classmethod
    def from_words(
        cls,
        encoder: DualEncoder,
        words: str,
        negative_noise: float,
        generator: torch.Generator,
    ) -> DualPrompts:
        """Both contexts start as the token vectors of `words`, the negative one a little moved.

        Args:
            negative_noise: how far, in standard deviations of the vectors.
        """
        vectors = encoder.embed_tokens(encoder.word_ids(words)).float()
        drawn = torch.randn(vectors.shape, generator=generator).to(vectors.device)
        # without it both contexts would get the same gradient and stay the same
        noise = negative_noise * vectors.std() * drawn
        return cls(torch.stack([vectors, vectors + noise]))

    @classmethod
    def start(
        cls,
        encoder: DualEncoder,
        template: str | None,
        length: int,
        negative_noise: float,
        generator: torch.Generator,
    ) -> DualPrompts:
        """Contexts before training: the words of `template` before the class name.

        Where it has none, `length` random vectors.

        Args:
            template: a plain prompt with {} for the class name; None starts at random.
        """
        words = (template or "").partition("{}")[0].strip()
        if words:
            return cls.from_words(encoder, words, negative_noise, generator)
        return cls.random(encoder, length, generator)

    @property
    def length(self) -> int:
        return self.contexts.shape[1]

    def positive(self, encoder: DualEncoder, tokens: ClassTokens) -> Tensor:
        """[k, d] features of the positive prompts."""
        return encoder.prompt_features(self.contexts[:1], tokens)[0]

    def negative(self, encoder: DualEncoder, tokens: ClassTokens) -> Tensor:
        """[k, d] features of the negative prompts."""
        return encoder.prompt_features(self.contexts[1:], tokens)[0]

    def both(self, encoder: DualEncoder, tokens: ClassTokens) -> tuple[Tensor, Tensor]:
        """Positive and negative features, [k, d] each, in one pass."""
        positive, negative = encoder.prompt_features(self.contexts, tokens)
        return positive, negative
