"""Attacks on the whole: kills, flipped bits, mutated files. What they hold us to: docs/trust.md."""
