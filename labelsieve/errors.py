"""Every error that labelsieve raises on purpose.

    LabelsieveError
    ├── DataError        the data: a missing file, an unknown column, one class, no images
    │   └── ImageError   one image cannot be decoded (never stops a run; its reason becomes
    │                    the row's status)
    ├── ModelError       the model: missing, damaged, or of a family that is not supported
    ├── OptionError      an option: unknown, or with a value it cannot have
    ├── RunError         a work folder: not a run, made by another command, damaged
    └── MissingExtra     an optional library is not installed

Each says in one line what is wrong, where, and what to do. The command line prints that line and
exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabelsieveError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what is wrong, with the value at fault.
        do: what the user can do about it.
    """

    def __init__(self, what: str, do: str = "") -> None:
        self.what = what
        self.do = do
        super().__init__(f"{what} {do}".strip())


class DataError(LabelsieveError):
    """The data set cannot be used as given."""


class ImageError(DataError):
    """One image cannot be decoded; the message is the reason."""


class ModelError(LabelsieveError):
    """The model cannot be loaded or is of an unsupported family."""


class OptionError(LabelsieveError):
    """An option is unknown or has a value it cannot have."""


class RunError(LabelsieveError):
    """A run folder is missing, damaged, or belongs to another command."""


class MissingExtra(LabelsieveError):
    """An optional library is needed and not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed.",
            f"Install it with: pip install 'labelsieve[{extra}]'.",
        )


def unknown(kind: str, value: str, valid: Iterable[str]) -> str:
    """The words for a value that is not one of `valid`, with the nearest one as a suggestion."""
    names = sorted(valid)
    # the library's own cutoff: six letters in ten are the same
    near = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{kind} '{value}' is unknown; there are: {', '.join(names)}.{hint}"
