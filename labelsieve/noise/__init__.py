"""Planted label errors: one noise model per file.

A file of this room offers `corrupt(labels, classes, rate, rng, context) -> labels`: int64 [n] in, int64 [n] out, the input
untouched. `context` holds what some models need: a transition matrix, or the pictures' pixels.
"""
