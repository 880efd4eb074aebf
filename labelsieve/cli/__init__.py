"""Words in, exit code out: one file per group of commands, what they share, and what a terminal shows."""
