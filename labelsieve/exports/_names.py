"""Names of files and folders that every file system takes, and that lead nowhere else."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

from labelsieve.files import LONGEST_NAME, path_to_uri

# What Windows keeps for devices, also with a suffix ("con.txt").
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
# What some file system takes for something else: separators, wildcards, control characters.
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
PARTS = re.compile(r"(?s)%[0-9A-F]{2}|.")
# Sixteen hex digits tell names apart that were cut, and a hyphen goes before them.
DIGITS = 16


def safe_name(text: str) -> str:
    """Text as the name of one file or folder, the same for the same text.

    What could lead elsewhere, or is refused somewhere, becomes %XX, so `urllib.parse.unquote`
    gives the text again. Only names that are too long for that are cut, and end in a hash.
    """
    name = FORBIDDEN.sub(_escaped, path_to_uri(text))
    # hidden, or the folder above; Windows drops dots and spaces at the end
    if name.startswith(".") or DEVICES.match(name):
        name = _escaped(name[0]) + name[1:]
    if name.endswith((".", " ")):
        name = name[:-1] + _escaped(name[-1])
    return shortened(name or "%")


def shortened(name: str) -> str:
    """A name that file systems take, which allow 255 bytes; a suffix still fits behind it."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    # bytes, not letters, are what is limited, and half a letter is dropped
    start = name.encode()[: LONGEST_NAME - DIGITS - 1].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:DIGITS]}"


def _escaped(character: re.Match[str] | str) -> str:
    text = character if isinstance(character, str) else character[0]
    return "".join(f"%{byte:02X}" for byte in text.encode())


class Names:
    """The names in one folder, different also where upper and lower case are the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def numbered(self, name: str, suffix: str) -> str:
        """The name of a file; one that is taken gets a number."""
        # no image format has a longer one, and a name has to fit with it
        suffix = suffix if len(suffix) <= DIGITS else ""
        free = name + suffix
        number = 2
        while not self._take(free):
            free = f"{name}-{number}{suffix}"
            number += 1
        return free

    def escaped(self, name: str) -> str:
        """The name of a folder; one that is taken is spelled with %XX, which means the same.

        Args:
            name: of `safe_name`.
        """
        # letters, and what is spelled so already
        parts = PARTS.findall(name)
        free = name
        for position, part in enumerate(parts):
            if self._take(free):
                return free
            if len(part) == 1:
                parts[position] = _escaped(part)
            free = shortened("".join(parts))
        self._take(free)
        return free

    def _take(self, name: str) -> bool:
        """Whether a name was free; it is not any more."""
        # macOS takes accents apart, macOS and Windows do not tell "Cat" from "cat"
        known_as = unicodedata.normalize("NFC", name).casefold()
        free = known_as not in self._taken
        self._taken.add(known_as)
        return free
