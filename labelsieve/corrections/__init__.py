"""What follows for the labels; the only package that writes the user's data."""
