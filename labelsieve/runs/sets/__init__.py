"""A run of sets of labels, as it stands."""
