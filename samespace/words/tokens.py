"""Cut a sentence into words, in one way for all that read or write one."""

from __future__ import annotations

import re
import unicodedata


def split_words(sentence: str) -> list[str]:
    """Return the words of a sentence, in lower case, cut as in the Penn Treebank and without punctuation.

    "Don't touch the man's T-shirt!" is do, n't, touch, the, man, 's, t-shirt. Numbers, hyphens and apostrophes inside
    words stay; slashes split words, unlike in the Treebank. The words joined by spaces split into the same words.
    """
    text = sentence.lower() if sentence.isascii() else _plain(sentence)
    words: list[str] = []
    for word in _WORD.findall(text.translate(_KEPT)):
        words += _without_clitics(word) if "'" in word else [word]
    return words


CLITICS = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m")
_WORD = re.compile(
    r"""
      (?<![^\s'.,:-]) [^\W\d] (?:\.[^\W\d])+ (?![^\s'.,:-])    # u.s, of "U.S."
    | '(?:s|re|ve|ll|d|m) (?![^\s'.,:-])                       # 's, of "man's", once it is cut off
    | [^\s'.,:-]+ (?:(?:['-] | (?<=\d)[.,:](?=\d)) [^\s'.,:-]+)*
    """,
    re.VERBOSE,
)
_CLITIC = re.compile(rf"(.*[^'-])({'|'.join(CLITICS)})")
_QUOTES = str.maketrans(dict.fromkeys("’‘ʼ‛`´＇", "'") | dict.fromkeys("‐‑－", "-"))


def _plain(sentence: str) -> str:
    """Return a sentence in lower case, similar characters made equal: composed, of usual width, no invisible ones."""
    text = unicodedata.normalize("NFKC", sentence.translate(_QUOTES)).translate(_QUOTES)
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", text.lower())


class _Kept(dict[int, int | str]):
    """A table for `str.translate`: letters, marks, digits and what joins them stay; all else becomes a space."""

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        keep = unicodedata.category(character)[0] in "LMN" or character in "'-.,:"
        return self.setdefault(code, code if keep else " ")


_KEPT = _Kept()


def _without_clitics(word: str) -> list[str]:
    """Split "shouldn't've" into should, n't, 've. What is left must be a word: "rock'n't" stays as it is."""
    ends: list[str] = []
    while found := _CLITIC.fullmatch(word):
        word = found[1]
        ends.append(found[2])
    return [word, *reversed(ends)]
