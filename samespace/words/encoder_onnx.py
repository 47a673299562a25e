"""Run an encoder that is a pair of ONNX files, by ONNX Runtime: PyTorch is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samespace.base.arrays import Array, Floats, blocks
from samespace.base.errors import SameSpaceError
from samespace.model.engine import runtime
from samespace.words.encoder_files import Files
from samespace.words.encoder_text import SentenceReader

_AT_ONCE = 64  # sentences
_OUTPUTS = ("image_embeds", "text_embeds", "pooler_output", "embeddings", "sentence_embedding")


class OnnxPair:
    """A network for photos and one for sentences; each is opened once it is asked."""

    def __init__(self, files: Files) -> None:
        assert files.pair, "a pair"
        self._files, (self._seeing, self._reading) = files, files.pair

    def see(self, pixels: Floats) -> Floats:
        """Return vectors (N, dim), of any length, of photos that are prepared (N, 3, height, width)."""
        session, size = self._vision, self._vision.get_inputs()[0].shape[0]
        if not isinstance(size, int):
            return _run(session, self._seeing, {session.get_inputs()[0].name: pixels})
        rows = []  # exported for so many photos
        for at in range(0, len(pixels), size):
            some = pixels[at : at + size]
            filled = np.concatenate([some, np.repeat(some[:1], size - len(some), 0)])
            rows.append(_run(session, self._seeing, {session.get_inputs()[0].name: filled})[: len(some)])
        return np.concatenate(rows)

    def read(self, sentences: Sequence[str]) -> Floats:
        """Return vectors (C, dim), of any length, of sentences.

        Those that are equally long are read together: not every network takes a mask that tells what only fills up.
        """
        tokens = [self._sentences.read([sentence]) for sentence in sentences]
        lengths = np.array([one.ids.shape[1] for one in tokens])
        at_once = 1 if isinstance(self._ids.shape[0], int) else _AT_ONCE
        order, rows = np.argsort(lengths, kind="stable"), []
        for alike in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            for some in blocks(len(alike), at_once):
                ids, mask = (np.concatenate(part) for part in zip(*(tokens[row] for row in alike[some]), strict=True))
                given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
                taken = {one.name: given[one.name] for one in self._text.get_inputs()}
                rows.append(_run(self._text, self._reading, taken))
        return np.concatenate(rows)[np.argsort(order)]

    @cached_property
    def _vision(self) -> Any:
        session = _open(self._seeing)
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise _foreign(self._seeing, session, "pixel_values of photos")
        return session

    @cached_property
    def _text(self) -> Any:
        session = _open(self._reading)
        names = {one.name for one in session.get_inputs()}
        if "input_ids" not in names or names - {"input_ids", "attention_mask", "token_type_ids"}:
            raise _foreign(self._reading, session, "input_ids of sentences")
        return session

    @cached_property
    def _sentences(self) -> SentenceReader:
        return SentenceReader(self._files, self._ids.shape[1] if isinstance(self._ids.shape[-1], int) else None)

    @property
    def _ids(self) -> Any:
        """Return what the network says of the sentences' numbers, (C, T)."""
        return next(one for one in self._text.get_inputs() if one.name == "input_ids")


def _open(path: Path) -> Any:
    onnxruntime = runtime()
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone, which are raised as well
    try:
        there = [name for name in wanted if name in onnxruntime.get_available_providers()]
        return onnxruntime.InferenceSession(path, options, there)
    except Exception as error:  # onnxruntime's own errors have no type in common
        raise SameSpaceError(f"{path} is damaged, or not an ONNX file: copy it again") from error


def _run(session: Any, path: Path, given: Mapping[str, Array]) -> Floats:
    kinds = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(int32)": np.int32}
    fed = {one.name: given[one.name].astype(kinds.get(one.type, given[one.name].dtype)) for one in session.get_inputs()}
    outputs = [one.name for one in session.get_outputs()]
    chosen = next((name for name in _OUTPUTS if name in outputs), outputs[0])
    try:
        (vectors,) = session.run([chosen], fed)
    except Exception as error:
        shapes = ", ".join(f"{name} {'×'.join(map(str, values.shape))}" for name, values in fed.items())
        raise SameSpaceError(f"{path} does not take {shapes}: give the JSON files that belong to it") from error
    if np.ndim(vectors) != 2 or len(vectors) != len(next(iter(fed.values()))):
        raise SameSpaceError(f"{path} does not give a vector each, but {chosen} of shape {np.shape(vectors)}")
    return np.asarray(vectors, np.float32)


def _foreign(path: Path, session: Any, wanted: str) -> SameSpaceError:
    takes = ", ".join(one.name for one in session.get_inputs())
    return SameSpaceError(f"{path} takes {takes}, not {wanted}: give the pair of a CLIP or SigLIP model")
