"""Sets of labels: which are missing, which are extra, and how many; functions of arrays."""
