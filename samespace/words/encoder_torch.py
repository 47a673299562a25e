"""Run an encoder in the format of Hugging Face's transformers, by PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from samespace.base.arrays import Floats
from samespace.base.errors import SameSpaceError
from samespace.model.pretrained import foreign_weights, open_model
from samespace.words.encoder_files import Files
from samespace.words.encoder_text import SentenceReader

# Those of one size of photo, whose photos and sentences end up in one space.
KINDS = ("altclip", "chinese_clip", "clip", "metaclip_2", "siglip")
_AT_ONCE = 64  # sentences


class TransformersModel:
    """One model for photos and sentences, opened once it is asked."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def see(self, pixels: Floats) -> Floats:
        """Return vectors (N, dim), of any length, of photos that are prepared (N, 3, height, width)."""
        model = self._model
        import torch

        with torch.inference_mode():
            try:
                found = model.get_image_features(pixel_values=torch.from_numpy(pixels).to(model.device))
            except (ValueError, RuntimeError) as error:
                shape = "×".join(map(str, pixels.shape[1:]))
                raise SameSpaceError(
                    f"{self._files.folder} does not take photos of {shape}: give the JSON files that belong to it"
                ) from error
        return _array(found)

    def read(self, sentences: Sequence[str]) -> Floats:
        """Return vectors (C, dim), of any length, of sentences."""
        model, rows = self._model, []
        import torch

        for at in range(0, len(sentences), _AT_ONCE):
            tokens = self._sentences.read(sentences[at : at + _AT_ONCE])
            given = {"input_ids": tokens.ids, **({} if self._sentences.fills else {"attention_mask": tokens.mask})}
            with torch.inference_mode():
                try:
                    here = {name: torch.from_numpy(values).to(model.device) for name, values in given.items()}
                    rows.append(_array(model.get_text_features(**here)))
                except (ValueError, RuntimeError, IndexError) as error:
                    raise SameSpaceError(
                        f"{self._files.folder} has a tokenizer of another model: copy the one that belongs to it"
                    ) from error
        return np.concatenate(rows)

    @cached_property
    def _sentences(self) -> SentenceReader:
        return SentenceReader(self._files)

    @cached_property
    def _model(self) -> Any:
        folder, kind = self._files.folder, self._files.config.get("model_type")
        if kind not in KINDS:
            raise SameSpaceError(f"{folder} is of kind {kind}: give a model of {', '.join(KINDS)}")
        model, missing = open_model(folder)
        if missing:
            raise foreign_weights(folder)
        import torch

        return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _array(found: Any) -> Floats:
    """Return what a model gave; since transformers 5 it is a field of an object."""
    return getattr(found, "pooler_output", found).float().cpu().numpy()
