"""What an error says, as a page says it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.base.text import as_sentence


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("no photo was sent: choose one first", "No photo was sent: choose one first."),
        ("a threshold of 2 makes no sense: give 0.5 to 1", "A threshold of 2 makes no sense: give 0.5 to 1."),
        ("damaged", "Damaged."),
        ("This needs the token.", "This needs the token."),
        ("Looking through the folders …", "Looking through the folders …"),
        ("is it there?", "Is it there?"),
        ("3 photos are called a.jpg: give the id of one", "3 photos are called a.jpg: give the id of one."),
    ],
)
def test_an_error_becomes_a_sentence(said: str, sentence: str) -> None:
    assert as_sentence(said) == sentence


@pytest.mark.parametrize(
    "name",
    ["/photos/a b", "photos/a", "img_1.jpg", "a.jpg", "café", "`groups`", "'photos'", "--model", "samespace scan", "~"],
)
def test_a_name_at_the_beginning_stays_as_it_is(name: str) -> None:
    assert as_sentence(f"{name} is not to be had") == f"{name} is not to be had."


@pytest.mark.parametrize("command", ["samespace scan '/a: b/c' --model m", "pip install 'samespace[train]'"])
def test_a_command_at_the_end_can_be_copied(command: str) -> None:
    assert as_sentence(f"none has been scanned: {command}") == f"None has been scanned: {command}"


@given(st.text())
def test_a_sentence_says_what_was_said(said: str) -> None:
    sentence = as_sentence(said)
    assert sentence.removesuffix(".")[1:] == said.removesuffix(".")[1:]
    assert as_sentence(sentence) == sentence
