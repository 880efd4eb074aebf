"""Which pictures are the same, or parts of one another."""
