"""The words that a model knows, as numbers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from samespace.base.arrays import Ints
from samespace.base.errors import SameSpaceError
from samespace.words.tokens import CLITICS, split_words

if TYPE_CHECKING:
    from samespace.words.caption_set import CaptionSet

PAD, START, STOP, UNKNOWN = range(4)
SPECIALS = ("<pad>", "<start>", "<stop>", "<unk>")  # no sentence has them: angle brackets are punctuation
THRESHOLD = 4  # times a word must be met to be learnt
FORMAT = 1


class Vocabulary:
    """Words and their ids: first the specials, then words by falling frequency, equally frequent ones by alphabet."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words` without the specials."""
        self.words = (*SPECIALS, *words)
        self._ids = {word: number for number, word in enumerate(self.words)}
        assert len(self._ids) == len(self.words), "each word once"

    @staticmethod
    def build(captions: CaptionSet, threshold: int = THRESHOLD) -> Vocabulary:
        """Return the words that training photos' captions have at least `threshold` times; no others are read."""
        sentences = captions.only("train").captions
        counts = Counter(word for sentence in sentences for word in split_words(sentence))
        words = sorted((word for word in counts if counts[word] >= threshold), key=lambda word: (-counts[word], word))
        if not words:
            raise SameSpaceError(
                f"no word is met {threshold} times in {captions.source}'s training captions: lower the threshold"
            )
        return Vocabulary(words)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return self._ids.get(word, PAD) > UNKNOWN

    @property
    def fingerprint(self) -> str:
        """Return a name that vocabularies share only if every id has the same word."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:16]

    def encode(self, sentence: str) -> list[int]:
        """Return START, an id for each word, STOP; UNKNOWN for unknown words."""
        return [START, *(self._ids.get(word, UNKNOWN) for word in split_words(sentence)), STOP]

    def encode_all(self, sentences: Sequence[str]) -> tuple[Ints, Ints]:
        """Return N sentences as ids (N, T), padded with PAD to the longest, and the number of ids of each (N,)."""
        encoded = [self.encode(sentence) for sentence in sentences]
        lengths = np.array([len(ids) for ids in encoded], np.int64)
        rows = np.full((len(encoded), lengths.max(initial=0)), PAD, np.int64)
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = [number for ids in encoded for number in ids]
        return rows, lengths

    def decode(self, ids: Iterable[int]) -> str:
        """Return the sentence up to STOP, in lower case, with clitics joined again: "the man's hat"."""
        sentence: list[str] = []
        for number in map(int, ids):
            if number == STOP:
                break
            if number not in (PAD, START):
                _append(sentence, self.words[number])
        return " ".join(sentence)

    def unknown(self, sentence: str) -> list[str]:
        """Return the unknown words of a sentence, each once, in order."""
        return [word for word in dict.fromkeys(split_words(sentence)) if word not in self]

    def nearest(self, word: str, count: int = 3) -> list[str]:
        """Return known words spelt nearly like this one, the nearest first; often none."""
        return get_close_matches(word, self.words[len(SPECIALS) :], count, 0.7)

    def to_json(self) -> str:
        """Return all of it in one line of ASCII, for a model to keep in its file."""
        return json.dumps({"format": FORMAT, "fingerprint": self.fingerprint, "words": self.words[len(SPECIALS) :]})

    @staticmethod
    def from_json(text: str) -> Vocabulary:
        """Read what `to_json` gave."""
        try:
            about = json.loads(text)
            words = about["words"]
            if about["format"] != FORMAT or not all(isinstance(word, str) for word in words):
                raise ValueError("not as it was written")
            if len({*SPECIALS, *words}) != len(SPECIALS) + len(words):
                raise ValueError("a word twice")
            vocabulary = Vocabulary(words)
            if about["fingerprint"] != vocabulary.fingerprint:
                raise ValueError("other words than were written")
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise SameSpaceError(
                "the vocabulary is damaged or of another version: take it from its model again"
            ) from error
        return vocabulary


def _append(sentence: list[str], word: str) -> None:
    """Add a word, as part of the one before if the two would be split there again."""
    if sentence and word in CLITICS and split_words(sentence[-1] + word) == [*split_words(sentence[-1]), word]:
        sentence[-1] += word
    else:
        sentence.append(word)
