"""What people are shown of a text obeys nobody."""

from __future__ import annotations

from labelsieve.errors import ImageError
from labelsieve.runs.items import texts

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
