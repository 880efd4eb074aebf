"""From bytes to text: which encoding, how much of it a model reads.

A text is known by its bytes, which nothing here changes: what a model reads and what a person is
shown are made from them. Cells of tables, which their readers have decoded, are UTF-8.
"""

from __future__ import annotations

import codecs
import json
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labelsieve.errors import ImageError

# A file or cell beyond this is no text that somebody has labelled: 16 MB are eight Bibles.
LARGEST = 16 << 20
# Characters a token has at most, on average, in any language's own tokenizer; English has 4.
CHARACTERS_A_TOKEN = 12
# What old files of Windows are written in; every byte of it means something.
OLD = "cp1252"


@dataclass(frozen=True)
class TextPreprocess:
    """How much of a text an encoder reads.

    Attributes:
        window: tokens that it takes at once.
        windows: at most so many windows of a text, from its beginning.
        prefix: words that the encoder was trained to find before every text, such as "query: ".
    """

    window: int
    windows: int
    prefix: str = ""

    @property
    def characters(self) -> int:
        """At most so many of a text are looked at."""
        return self.window * self.windows * CHARACTERS_A_TOKEN

    def to_json(self) -> str:
        """Names it in the cache of features."""
        return json.dumps(asdict(self))


def text_bytes(cell: Any) -> bytes:
    """The bytes of a cell that a table's reader decoded; b"" for none.

    Raises:
        ImageError: a list or another thing that is no text.
    """
    if cell is None:
        return b""
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, list | tuple | dict | set):
        raise ImageError(f"a {type(cell).__name__}, and no text")
    # JSON may hold half of a surrogate pair, which strict UTF-8 has no bytes for
    return str(cell).encode("utf-8", "surrogatepass")


def read_bytes(text: Any) -> bytes:
    """The bytes of a text that a source gave: a path, or bytes.

    Raises:
        ImageError: it cannot be opened, or is too large to be one text.
    """
    if not isinstance(text, str | Path):
        data = bytes(text.read_bytes()) if hasattr(text, "read_bytes") else bytes(text)
    else:
        try:
            # a pipe would be waited for without end
            if not stat.S_ISREG(Path(text).stat().st_mode):
                raise ImageError("not a file")
            with Path(text).open("rb") as file:
                data = file.read(LARGEST + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(reason) from error
    if len(data) > LARGEST:
        raise ImageError(f"more than {LARGEST >> 20} MB")
    return data


def decode(data: bytes) -> str:
    """Bytes as text: UTF-8, UTF-16 with its mark, else Windows-1252.

    Half of a surrogate pair, which JSON may hold and UTF-8 may not, becomes U+FFFD.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        halves = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode(OLD, "replace")
    # two halves that meet are a character again
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encoding_of(data: bytes) -> str:
    """Which of the encodings of `decode` a text is in, as a person calls it."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return "Windows-1252"
    return "UTF-8"
