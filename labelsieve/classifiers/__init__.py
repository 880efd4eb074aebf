"""Classifiers trained on what a scan found clean: `train`, `predict`, `evaluate`,
`export-model`.
"""
