"""Scripts and languages of short texts."""

from __future__ import annotations

import pytest

from labelsieve.data.text.languages import language_of, script_of

SCRIPTS = {
    "A plain sentence.": "Latin script",
    "Ένα απλό κείμενο": "Greek script",
    "Это простое предложение": "Cyrillic script",
    "שלום עולם": "Hebrew script",
    "هذه جملة بسيطة": "Arabic script",
    "यह एक वाक्य है": "Devanagari",
    "这是一个简单的句子": "Chinese characters",
    "これは簡単な文章です": "Japanese script",
    "이것은 간단한 문장입니다": "Hangul",
    "นี่คือประโยค": "Thai script",
    "🚀🚀 12345 !?": None,
    "ok": None,
}
LANGUAGES = {
    "English": "The cat was on the table and it is not for the dog that sat there",
    "German": "Der Hund ist nicht auf dem Tisch und die Katze hat sich mit dem Ball versteckt",
    "French": "Le chat est dans une maison avec les enfants qui sont pas sur la table",
    "Spanish": "El gato no es para los niños que están con una pelota y las flores del jardín",
    "Italian": "Il gatto che non è della casa gli ha dato una palla con il filo per giocare",
    "Polish": "Kot nie jest na stole ale się bawi, jak jego pies przez cały dzień",
}


@pytest.mark.parametrize("text", SCRIPTS)
def test_the_script_of_most_letters(text: str) -> None:
    assert script_of(text) == SCRIPTS[text]


@pytest.mark.parametrize("language", LANGUAGES)
def test_little_words_tell_the_language(language: str) -> None:
    assert language_of(LANGUAGES[language].split()) == language


def test_few_words_tell_none() -> None:
    assert language_of(["Dow", "Jones", "up", "3", "percent"]) is None
    assert language_of([]) is None
