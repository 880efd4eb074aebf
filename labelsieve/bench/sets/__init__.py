"""Sets of labels in the bench: pictures with several classes that are made, and their figures."""
