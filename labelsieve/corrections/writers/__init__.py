"""How corrections are written into data: one storage per file."""
