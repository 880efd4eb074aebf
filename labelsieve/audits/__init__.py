"""Audits: what is asked at random, fixed beforehand, and the promises that follow from answers."""
