"""Pictures that belong to none of the classes: prototypes, re-ranked neighbours, scores."""
