"""From rows of a data set to what a classifier is given, one kind of items per file."""
