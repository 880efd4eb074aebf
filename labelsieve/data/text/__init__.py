"""Texts: from bytes to words, how much of them a model reads, and where they wait for it."""
