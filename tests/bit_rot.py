"""Files in which a disk has flipped a bit."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st


def flipped(content: bytes, at: int, bit: int) -> bytes:
    """Return the content with one bit of the byte at `at` changed."""
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def harmed_copy(whole: Path, data: st.DataObject) -> Path:
    """Write a copy of a file beside it, with any one bit changed."""
    content = whole.read_bytes()
    harmed = whole.with_name("harmed")
    harmed.write_bytes(flipped(content, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))))
    return harmed
