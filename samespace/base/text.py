"""Numbers, names and paths as a person reads them, and as a shell takes them back."""

from __future__ import annotations

import math
import os
import re
import shlex
import unicodedata
from pathlib import Path

_WORD = re.compile(r"(?!samespace )[a-z]+(?=[ ,:;]|$)")  # at the beginning: not a path, a `name` or img_1.jpg
_LONG = re.compile(r"\S{300,}")
_COMMAND = re.compile(r": (samespace [a-z]+|pip install) \S")  # at the end


def readable(text: str) -> str:
    """Escape what must not be printed: line ends, bytes that are not UTF-8, marks that turn text around."""
    return "".join(_escape(character) if _unprintable(character) else character for character in text)


def shortened(text: str) -> str:
    """Return a message in which no word is longer than a screen's lines, and which is no longer than a screen."""
    text = _LONG.sub(lambda word: f"{word[0][:200]}…{word[0][-80:]}", text)
    return text if len(text) <= 2000 else f"{text[:2000]}…"


def _unprintable(character: str) -> bool:
    # Joiners (of emoji, of Persian words) are format characters as well, and change nothing that could mislead.
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\u200c\u200d"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python reads it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def as_sentence(words: str) -> str:
    """Return an error's words as a page shows them: with a capital and a full stop.

    A path, a name or a command at the beginning stays as it is, and a command at the end can be copied.
    """
    if _WORD.match(words):
        words = words[0].upper() + words[1:]
    if words.endswith((".", "?", "!", "…")) or _COMMAND.search(words):
        return words
    return f"{words}."


def is_plain(text: str) -> bool:
    """Tell whether `readable` would leave the text as it is."""
    return not any(map(_unprintable, text))


def shell_word(text: str) -> str:
    """Quote text so that a shell takes it back, on one line of UTF-8 whatever it holds."""
    if is_plain(text):
        return shlex.quote(text)
    return "$'" + "".join(_shell_escape(character) for character in text) + "'"


def full_path(path: str | os.PathLike[str]) -> str:
    """Return a path as a shell takes it back in whatever folder it is typed."""
    return shell_word(os.path.abspath(path))  # noqa: PTH100 - a path that a person typed, links and all


def current_folder() -> list[Path]:
    """Return the current folder; nothing if it has been deleted, which matters to relative paths alone."""
    try:
        return [Path.cwd()]
    except FileNotFoundError:
        return []


def _shell_escape(character: str) -> str:
    if _unprintable(character):
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
    return f"\\{character}" if character in "\\'" else character


def size_words(size: int) -> str:
    """Return a number of bytes in words: 1.2 MB for 1234567."""
    number, units = float(size), ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    while number >= 999.5:
        number, units = number / 1000, units[1:]
    digits = 1 if number < 99.95 and units[0] != "B" else 0
    return f"{number:.{digits}f} {units[0]}"


def score_words(score: float) -> str:
    """Return a score rounded down: what is below 1, or below a threshold, must not read as if it met it."""
    return f"{math.floor(score * 1000 + 1e-6) / 1000:.3f}"


def count_with(number: int, noun: str, partners: int) -> str:
    """Return a number of photos with that of their partners: 2 photos and 3 files that belong to them."""
    if not partners:
        return count(number, noun)
    belonging = "file that belongs" if partners == 1 else "files that belong"
    return f"{count(number, noun)} and {partners:,} {belonging} to {'it' if number == 1 else 'them'}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 photo, 1,234 photos."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
