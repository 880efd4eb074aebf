"""Reads the user's data and never writes them: from a source to pixels and labels."""
