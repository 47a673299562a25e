"""Turn sentences into the numbers that an encoder's text network takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samespace.base.arrays import Ints
from samespace.base.errors import SameSpaceError
from samespace.words.encoder_files import Files

_LONGEST = {"siglip": 64}  # tokens that a network takes if its config says nothing, for it leaves out what is usual
_USUAL = 77


class Tokens(NamedTuple):
    """C sentences as numbers, filled up to one length."""

    ids: Ints  # (C, T)
    mask: Ints  # (C, T): 1 for what counts


class SentenceReader:
    """An encoder's own tokenizer. Any thread may ask."""

    def __init__(self, files: Files, length: int | None = None) -> None:
        """Read it from a tokenizer.json, or if there is none with transformers; a network may want one `length`."""
        kind, text = files.config.get("model_type"), files.config.get("text_config") or {}
        # SigLIP learnt from sentences in lower case, all filled up to one length, and without a mask.
        self.fills = kind == "siglip"
        said = _json(files.folder / "tokenizer_config.json")
        limits = (text.get("max_position_embeddings"), said.get("model_max_length"), length)
        known = [int(limit) for limit in limits if isinstance(limit, int) and 1 <= limit <= 10_000]
        most = min([*known, *([] if known else [_LONGEST.get(str(kind), _USUAL)])])
        self._length = length or (most if self.fills else None)
        self._tokenize = self._by_file(files.folder, said, text, most) or self._by_transformers(files.folder, most)

    def read(self, sentences: Sequence[str]) -> Tokens:
        """Return the sentences' numbers; what is too long is cut."""
        said = [sentence.lower() for sentence in sentences] if self.fills else list(sentences)
        tokens = self._tokenize(said)
        return tokens._replace(mask=np.ones_like(tokens.mask)) if self.fills else tokens

    def _by_file(self, folder: Path, said: Mapping[str, Any], text: Mapping[str, Any], most: int) -> Any:
        path = folder / "tokenizer.json"
        if not path.is_file():
            return None
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise SameSpaceError(f"reading {path} needs pip install 'samespace[clip]'") from error
        try:
            made = Tokenizer.from_str(path.read_text("utf-8"))
        except Exception as error:  # it raises nothing more special
            raise SameSpaceError(f"{path} is damaged, or of another version of tokenizers: copy it again") from error
        own, pad = made.padding or {}, said.get("pad_token")
        pad = own.get("pad_token") or (pad.get("content") if isinstance(pad, dict) else pad)
        number = made.token_to_id(pad) if isinstance(pad, str) else None
        number = number if number is not None else int(text.get("pad_token_id") or 0)
        made.enable_truncation(most)
        made.enable_padding(length=self._length, pad_id=number, pad_token=pad or "[PAD]")

        def tokenize(sentences: list[str]) -> Tokens:
            found = made.encode_batch(sentences)
            rows = [one.ids for one in found], [one.attention_mask for one in found]
            return Tokens(*(np.array(row, np.int64) for row in rows))

        return tokenize

    def _by_transformers(self, folder: Path, most: int) -> Any:
        lacking = SameSpaceError(f"{folder} has no tokenizer.json: copy it from the model, with its other JSON files")
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise lacking from error
        try:
            made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # of many kinds, by what is missing
            raise lacking from error
        padding: Any = "max_length" if self._length else True

        def tokenize(sentences: list[str]) -> Tokens:
            found = made(sentences, padding=padding, truncation=True, max_length=self._length or most)
            ids = np.array(found["input_ids"], np.int64)
            return Tokens(ids, np.array(found.get("attention_mask", np.ones_like(ids)), np.int64))

        return tokenize


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
