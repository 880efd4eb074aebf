"""Planted label errors: what to plant where, and one noise model per file below."""
