"""JSON Lines, read line by line in Python.

Arrow's own reader ends the process on some broken files, and makes floats of integers from
2^63 on; here a fault is named with its line, and numbers keep every digit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.data.sources._unpacked import open_bytes
from labelsieve.errors import DataError

LONGEST_LINE = 1 << 24  # bytes; a file without line ends must not fill the memory
MOST_DIGITS = 400  # of a whole number that is written out: the largest float has 309
LONGEST_INT = 4000  # digits; of more, Python makes no number, and they stay text
AT_ONCE = 1024  # records in a list


class Real(str):
    """A number with a point or an exponent, or a very long one, as the file has it.

    Most are never looked at.
    """

    __slots__ = ()


def schema(path: Path) -> pa.Schema:
    """Names of all columns, with the type of their first value.

    Raises:
        DataError: a line is no JSON object, or there is none.
    """
    values: dict[str, Any] = {}
    last: Any = None
    for _, record in records(path):
        # most files have the same keys in every line: comparing sets is all that is done
        if record.keys() == last and None not in values.values():
            continue
        last = record.keys()
        for name, value in record.items():
            if values.get(name) is None:
                values[name] = value
    if last is None:
        raise _error(path, "it has no lines")
    return pa.schema([(name, _type(value)) for name, value in values.items()])


def parts(path: Path, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Records with these columns, None where a line lacks one.

    Raises:
        DataError: a line is no JSON object, or a column holds text here and numbers there.
    """
    kinds: dict[str, str] = {}
    part = []
    for line, record in records(path):
        row = {}
        for name in columns:
            row[name] = _exact(record.get(name))
            if row[name] is None:
                continue
            kind = _kind(record[name])
            if kinds.setdefault(name, kind) != kind:
                fault = f"'{name}' holds {kind} in line {line} and {kinds[name]} before"
                raise _error(path, fault)
        part.append(row)
        if len(part) == AT_ONCE:
            yield part
            part = []
    yield part


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from one, and their objects; empty lines hold none."""
    with open_bytes(path) as file:
        number = 0
        while data := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(data) > LONGEST_LINE:
                fault = f"line {number} is longer than {LONGEST_LINE >> 20} MiB"
                raise _error(path, fault)
            if number == 1:
                # the byte order mark that editors on Windows put before UTF-8
                data = data.removeprefix(b"\xef\xbb\xbf")
            if data.strip():
                yield number, _parse(path, number, data)


def _parse(path: Path, number: int, data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data.decode("utf-8"), parse_float=Real, parse_int=_whole)
        if b"\\u" in data:
            # half of a surrogate pair is no text: no file and no table can hold it
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise _error(path, f"line {number} is not valid Unicode (UTF-8)") from error
    except RecursionError as error:
        raise _error(path, f"line {number} is nested too deep") from error
    except ValueError as error:
        reason = str(error).partition(": line 1")[0].partition(";")[0]
        raise _error(path, f"line {number} is not JSON ({reason})") from error
    if not isinstance(record, dict):
        shown = data.decode("utf-8").strip()[:40]
        raise _error(path, f"line {number} is not a JSON object ({shown!r})")
    return record


def _whole(digits: str) -> int | Real:
    return int(digits) if len(digits) <= LONGEST_INT else Real(digits)


def _error(path: Path, fault: str) -> DataError:
    return DataError(f"'{path}' cannot be read as JSONL: {fault}.", "Check the file.")


def _exact(value: Any) -> Any:
    """A real number as an integer or float that is the very same number, else as its text."""
    if type(value) is not Real:
        return value
    # Decimal knows every digit that stands there
    number = Decimal(value)
    if number.adjusted() < MOST_DIGITS and number == number.to_integral_value():
        return int(number)
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == number else str(value)


def _kind(value: Any) -> str:
    """How a person calls a kind of values."""
    if isinstance(value, bool):
        return "truth values"
    if isinstance(value, int | Real | float):
        return "numbers"
    names: dict[type, str] = {str: "text", list: "lists", dict: "objects"}
    return names[type(value)]


def _type(value: Any) -> pa.DataType:
    """Of a column with this value; integers may be larger than the type says."""
    if isinstance(value, Real | float):
        return pa.float64()
    if isinstance(value, int) and not isinstance(value, bool):
        return pa.int64()
    try:
        return pa.infer_type([value])
    except (pa.ArrowException, ValueError, OverflowError):
        # nothing that one label or path could be
        return pa.list_(pa.null()) if isinstance(value, list) else pa.struct([])
