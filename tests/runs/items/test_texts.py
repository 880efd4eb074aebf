"""What people are shown of a text obeys nobody."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from labelsieve.data.text.words import Spoken
from labelsieve.errors import ImageError
from labelsieve.runs.items import _words, texts

HOSTILE = "<script>x</script>\x1b[31m\x00\u202eabc 🙂\nשלום"


class Items:
    def read(self, sample_id: str) -> bytes:
        if sample_id != "a":
            raise ImageError("not in the run")
        return HOSTILE.encode()


def test_controls_are_written_out_and_letters_stay() -> None:
    shown = texts.show(Items(), "a", "large")
    assert shown is not None
    text = shown.decode()
    for control in ("\x1b", "\x00", "\u202e"):
        assert control not in text
    assert "<script>" in text and "🙂" in text and "\nשלום" in text


def test_long_texts_are_cut_and_missing_ones_are_none() -> None:
    assert texts.embed(Items(), "a", 2, 0) == "<script>…"
    assert texts.embed(Items(), "b", 8, 0) == ""
    assert texts.show(Items(), "b", "small") is None
    assert texts.facts(Items(), "b") is None
    facts = texts.facts(Items(), "a")
    assert facts == texts.Facts(len(HOSTILE), "44 bytes", "UTF-8")


def test_words_of_a_scan_are_facts_of_a_text(tmp_path: Path) -> None:
    """Those of a stranger's run are shown harmlessly, too."""
    spoken = {"a": Spoken(["bank"], ["goal", "\x1b[31m", "x" * 99])}
    _words.write(tmp_path, spoken)
    run = SimpleNamespace(folder=tmp_path, file=lambda name: tmp_path / name)
    read = _words.of_run(run)  # type: ignore[arg-type]
    assert read["a"].speaks_for == ["bank"] and read["a"].against[0] == "goal"
    assert "\x1b" not in read["a"].against[1] and len(read["a"].against[2]) == 40
    items = Items()
    items.words = read  # type: ignore[attr-defined]
    facts = texts.facts(items, "a")
    assert facts is not None and facts.spoken == read["a"]
