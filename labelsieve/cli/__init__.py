"""Words in, exit code out: a file per group of commands, and what a terminal shows."""

from __future__ import annotations


def main() -> None:
    """Run the command line; `labelsieve.cli.main` is where programs have always found it."""
    # imported only now, so that importing a part of the command line does not load all of it
    from labelsieve.cli.app import main as run

    run()
