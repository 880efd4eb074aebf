"""Words in, exit code out: a file per group of commands, and what a terminal shows."""
