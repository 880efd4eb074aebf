"""Keys of rows: the user's id, else the path or the content, never the number of a row."""

from __future__ import annotations

import hashlib
from array import array

from labelsieve.errors import DataError

EMPTY = 0  # of a slot; no digest is taken to be 0
SMALLEST = 1 << 10  # slots to begin with
MASK = 2**64 - 1


class Numbers:
    """Texts -> whole numbers, in 12 bytes a slot and none for the text.

    A dictionary of a million paths takes 200 MB, this takes 25. Texts are known by 64 bits of
    their hash: among ten million, two have the same with a chance of 3 in a million.
    """

    def __init__(self) -> None:
        self._count = 0
        self._make_room(SMALLEST)

    def _make_room(self, size: int) -> None:
        self._size = size
        self._digests = array("Q", bytes(8 * size))
        self._values = array("I", bytes(4 * size))

    def get(self, text: str) -> int:
        """Its number; 0 where it has none."""
        return self._values[self._slot(_digest(text))]

    def put(self, text: str, value: int) -> None:
        """Give it a number from 1 to 2^32 - 1."""
        digest = _digest(text)
        slot = self._slot(digest)
        if self._digests[slot] == EMPTY:
            self._count += 1
        self._digests[slot], self._values[slot] = digest, value
        # beyond two thirds, looking for a free slot takes many steps
        if 3 * self._count > 2 * self._size:
            self._grow()

    def _slot(self, digest: int) -> int:
        slot = digest % self._size
        while self._digests[slot] not in (EMPTY, digest):
            slot = (slot + 1) % self._size
        return slot

    def _grow(self) -> None:
        digests, values = self._digests, self._values
        self._make_room(2 * self._size)
        for digest, value in zip(digests, values, strict=True):
            if digest != EMPTY:
                slot = self._slot(digest)
                self._digests[slot], self._values[slot] = digest, value


def _digest(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) or MASK


class RowKeys:
    """Keys of rows, as they pass.

    Never the number of a row, so that rows may be put into another order. Only rows of the very
    same path or content are told apart by their order: "@2", "@3".
    """

    def __init__(self, id_column: str | None) -> None:
        self._column = id_column
        self._first = Numbers()  # id -> which row had it, from 1
        self._met = Numbers()  # path or content -> how often it was met
        self._row = 0
        # a data set of several parts names its rows by part: (first row, name of the part)
        self._parts = [(0, "")]

    def begin(self, part: str) -> None:
        """Rows from here on are of this part; its name comes before their numbers."""
        self._parts.append((self._row, f"{part} "))

    def name(self, row: int) -> str:
        """How a person calls a row, counted from 0 over all parts."""
        start, part = next(p for p in reversed(self._parts) if p[0] <= row)
        return f"{part}row {row - start}"

    def take(self, own: str | None, image: str | bytes) -> str:
        """Key of the next row.

        Args:
            own: the user's id, where there is one.
            image: a path as uri, or encoded bytes.

        Raises:
            DataError: another row has the same id.
        """
        row, self._row = self._row, self._row + 1
        if own is not None:
            first = self._first.get(own)
            if first:
                raise DataError(
                    f"--id-column '{self._column}': '{own}' stands in "
                    f"{self.name(first - 1)} and in {self.name(row)}.",
                    "Name a column of unique ids, or leave it out.",
                )
            self._first.put(own, row + 1)
            return own
        if isinstance(image, bytes):
            # as many digits as an id has of its content
            image = hashlib.sha256(image).hexdigest()[:12]
        times = self._met.get(image) + 1
        self._met.put(image, times)
        return image if times == 1 else f"{image}@{times}"
