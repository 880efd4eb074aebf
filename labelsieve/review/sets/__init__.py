"""What is shown and decided of a picture that has a set of labels."""
