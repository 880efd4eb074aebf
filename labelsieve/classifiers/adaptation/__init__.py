"""Classifiers that are adapted to what they are asked about."""
