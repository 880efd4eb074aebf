"""Learned text contexts: one positive, one negative, shared by all classes (Wei et al.
2024, section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelsieve.models.encoder import ClassTokens, DualEncoder


class DualPrompts(nn.Module):
    """A positive and a negative context before every class name.

    Attributes:
        contexts: [2, m, text_width] float32 parameter; 0 is positive, 1 negative.
    """

    def __init__(self, contexts: Tensor) -> None:
        super().__init__()
        self.contexts = nn.Parameter(contexts.float())

    @classmethod
    def random(
        cls, encoder: DualEncoder, length: int, generator: torch.Generator
    ) -> DualPrompts:
        """The paper's start: every number drawn from N(0, 0.02²)."""
        return cls(
            (0.02 * torch.randn(2, length, encoder.text_width, generator=generator)).to(
                encoder.device
            )
        )

    @classmethod
    def from_words(
        cls,
        encoder: DualEncoder,
        words: str,
        negative_noise: float,
        generator: torch.Generator,
    ) -> DualPrompts:
        """Both contexts start as the token vectors of `words`; the negative one is moved
        by a little noise.
        """
        vectors = encoder.embed_tokens(encoder.word_ids(words)).float()
        noise = (
            negative_noise
            * vectors.std()
            * torch.randn(vectors.shape, generator=generator).to(vectors.device)
        )
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
        """Contexts before training: the words of `template` before the class name, or
        where it has none `length` random vectors.

        Args:
            template: a plain prompt with {} for the class name; None starts at random.
        """
        words = (template or "").partition("{}")[0].strip()
        return (
            cls.from_words(encoder, words, negative_noise, generator)
            if words
            else cls.random(encoder, length, generator)
        )

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
