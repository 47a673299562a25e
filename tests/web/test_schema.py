"""Refuse a wrong field in a sentence that says what it must be and what it was."""

from __future__ import annotations

import pytest
from pydantic import Field
from starlette.exceptions import HTTPException

from samespace.web.schema import WORD, Sent, read


class Fields(Sent):
    number: int = 0
    word: str | None = Field(None, pattern=WORD)


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("word", "a-b", "`word` must be text of letters, digits and _, not 'a-b'"),
        ("word", "", "`word` must be text of letters, digits and _, not ''"),
        ("word", 5, "`word` must be text of letters, digits and _, not 5"),
        ("word", [], "`word` must be text of letters, digits and _"),
        ("word", "a-" * 50, f"`word` must be text of letters, digits and _, not '{'a-' * 20}'"),
        ("number", "x\n" * 50, "`number` must be a whole number, not '" + r"x\n" * 20 + "'"),
        ("number", 0.5**200, "`number` must be a whole number, not 6.223015277861142e-61"),
    ],
)
def test_a_wrong_field_is_refused_in_a_sentence(name: str, given: object, sentence: str) -> None:
    with pytest.raises(HTTPException) as refused:
        read(Fields, {name: given})
    assert (refused.value.status_code, refused.value.detail) == (422, sentence)
