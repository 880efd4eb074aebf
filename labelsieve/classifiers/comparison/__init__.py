"""Classifiers beside each other, on labels that may be wrong."""
