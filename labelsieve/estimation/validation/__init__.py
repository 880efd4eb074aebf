"""What labels that may be wrong say about how good classifiers are."""
