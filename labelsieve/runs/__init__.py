"""A finished run, opened again."""
