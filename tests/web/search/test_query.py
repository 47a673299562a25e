"""A search as an address says it, and as it is read from there."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from samespace.web.schema import read
from samespace.web.search.query import MOST, SearchQuery


@given(
    st.builds(
        SearchQuery,
        **{name: st.text().map(str.strip) for name in ("like", "photo", "q")},
        names=st.booleans(),
        folder=st.text().map(str.strip),
        threshold=st.none() | st.integers(1, 100).map(lambda percent: percent / 100),
        all=st.booleans(),
        start=st.integers(0, 10**6),
        top=st.integers(1, MOST),
    )
)
def test_an_address_says_the_whole_search(wanted: SearchQuery) -> None:
    said = dict(parse_qsl(urlsplit(wanted.address()).query, keep_blank_values=True))
    assert read(SearchQuery, said) == wanted


@pytest.mark.parametrize("name", ["sentence", "q"])
def test_a_sentence_that_is_none_is_refused_by_the_name_it_was_sent_by(name: str) -> None:
    with pytest.raises(HTTPException) as refused:
        read(SearchQuery, {name: 5})
    assert (refused.value.status_code, refused.value.detail) == (400, f"`{name}` must be text, not 5")
