"""What a random audit tells, whatever a model is worth: lists, ends of reviews, shares."""
