"""Folders of texts: their bytes are kept."""

from __future__ import annotations

from pathlib import Path

from fixtures.texts import TEXTS, rows

from labelsieve.exports import textfolder


def test_a_folder_of_texts_has_their_bytes(tmp_path: Path) -> None:
    textfolder.write(rows(), tmp_path)
    found = {p.read_bytes(): p.parent.name for p in tmp_path.rglob("*.txt")}
    assert found == dict(zip(TEXTS, ["a", "a", "a", "b"], strict=True))
