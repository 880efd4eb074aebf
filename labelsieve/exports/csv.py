"""CSV: one row per image with given label, label after decisions, and scores.

Cells hold what the data hold, to the letter, so that ids and labels lead back to them. A
spreadsheet program takes a cell for a formula that begins with "=", "+", "-", "@", a tab or a
carriage return, and runs it: open tables of data that you do not trust with `safe_formulas`
(`--safe-formulas`), which puts an apostrophe before such cells, and before those that begin with
one. Who reads the file with a program takes one apostrophe away.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.exports import Rows
from labelsieve.tables import write_csv

TARGET = ".csv"
ITEMS = ("images", "texts")
HOLDS = ("single", "set")  # a set is a JSON list
# What spreadsheets evaluate (OWASP, "CSV injection"), and the mark that stops them, so that one
# that is there twice can be told from none.
FORMULA = r"^[=+\-@\t\r']"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the table."""
    write_csv(
        _without_formulas(rows.table) if rows.safe_formulas else rows.table, target
    )
    return [target]


def _without_formulas(table: pa.Table) -> pa.Table:
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            cells = table[field.name]
            marked = pc.binary_join_element_wise("'", cells, "")
            # null stays null
            risky = pc.match_substring_regex(cells, FORMULA)
            cells = pc.if_else(risky, marked, cells)
            table = table.set_column(number, field.name, cells)
    return table
