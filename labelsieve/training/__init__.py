"""Optimisation that knows no model."""
