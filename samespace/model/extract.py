"""Turn photos into the numbers that a library keeps, by a bare backbone or a trained model: what a scan does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from samespace.base.arrays import Array
from samespace.base.one_thread import one_thread_each
from samespace.base.photos import Pixels
from samespace.model import materials
from samespace.model.colours import DIM, colours
from samespace.model.engine import Engine, Shape, Sheet
from samespace.model.heads import RoomHead
from samespace.model.projection import MATERIALS

Finish = Callable[[Sequence[Array], Pixels], Sequence[Array]]


class NetworkExtractor:
    """A network that turns photos into the numbers a library keeps, on all cores or the GPU; any thread may ask.

    No thread is started before the first photos come.
    """

    def __init__(self, engine: Engine, sheet: Sheet, fields: dict[str, Shape], finish: Finish) -> None:
        """Take an engine for photos (N, S, S, 3) of 0..255, and what makes the columns of `fields` from its outputs.

        `finish` gets the photos beside the outputs. A column of colours is added, for which no network is needed. A
        field of materials has a fingerprint of its own.
        """
        self._engine, self._finish = engine, finish
        self._columns: dict[str, Shape] = {"colours": ((DIM,), "uint8"), **fields}
        self.fields = {name: field for name, field in self._columns.items() if name != MATERIALS}
        self.fingerprint, self.former = sheet.fingerprint, sheet.former
        self._latest: tuple[Pixels | None, dict[str, Array]] = None, {}
        self.batch = max(32, 2 * engine.photos * engine.workers)
        self.materials = Materials(self, fields[MATERIALS], sheet.of_materials) if MATERIALS in fields else None

    @property
    def name(self) -> str:
        """Return the engine's name, for a person to read."""
        return self._engine.name

    def extract(self, pixels: Pixels) -> dict[str, Array]:
        """Return an array of N rows for each field; a photo's row does not depend on the others in its batch."""
        columns = self.columns(pixels)
        return {name: columns[name] for name in self.fields}

    def columns(self, pixels: Pixels) -> dict[str, Array]:
        """Return all that one pass gives; if asked twice about one array, it passes once."""
        seen, columns = self._latest
        if seen is not pixels:
            columns = self._pass(pixels)
            self._latest = pixels, columns
        return columns

    def _pass(self, pixels: Pixels) -> dict[str, Array]:
        found = {name: np.empty((len(pixels), *shape), dtype) for name, (shape, dtype) in self._columns.items()}
        size = self._engine.photos
        starts = range(0, len(pixels), size)
        with one_thread_each():
            chunks = self._pool.map(self._extract, (pixels[at : at + size] for at in starts))
            for at, columns in zip(starts, chunks, strict=True):
                for column, rows in zip(columns, found.values(), strict=True):
                    rows[at : at + size] = column[: len(rows) - at]
        return found

    def _extract(self, chunk: Pixels) -> list[Array]:
        seen = colours(chunk)
        # Always the same number of photos: a convolution takes other ways for other sizes, and rounds differently.
        missing = self._engine.photos - len(chunk)
        chunk = np.pad(chunk, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else np.ascontiguousarray(chunk)
        return [seen, *self._finish(self._engine(chunk), chunk)]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._engine.workers)


class Materials:
    """An extractor of what photos are made of (see materials.py), from the pass that gives their vectors.

    Its fingerprint is its own, because libraries of 0.1 have vectors without it, and models share it that share a
    backbone.
    """

    def __init__(self, source: NetworkExtractor, field: Shape, fingerprint: str) -> None:
        self._source, self.batch = source, source.batch
        self.fields = {MATERIALS: field}
        self.fingerprint = fingerprint

    def extract(self, pixels: Pixels) -> dict[str, Array]:
        """Return the materials of photos (N, S, S, 3), (N, D)."""
        return {MATERIALS: self._source.columns(pixels)[MATERIALS]}


def of_backbone(engine: Engine, sheet: Sheet) -> NetworkExtractor:
    """Return the extractor of a bare backbone's vectors, which are neither whitened nor of length 1.

    It computes in float32 on every processor, so that vectors from several machines fit together. Earlier versions used
    bfloat16 on CPUs that multiply it, twice as fast, and gave each precision a fingerprint of its own.
    """
    fields: dict[str, Shape] = {"vectors": (sheet.outputs["vectors"][0], "float16")}
    if not sheet.of_materials:
        return NetworkExtractor(engine, sheet, fields, lambda outputs, _: [outputs[0].astype(np.float16)])

    def finish(outputs: Sequence[Array], photos: Pixels) -> Sequence[Array]:
        vectors, fine, coarse = outputs
        return vectors.astype(np.float16), materials.describe(materials.Maps(fine, coarse), photos)

    return NetworkExtractor(engine, sheet, {**fields, MATERIALS: _of_materials(sheet)}, finish)


def of_rooms(engine: Engine, sheet: Sheet, head: RoomHead) -> NetworkExtractor:
    """Return the extractor of a model's vectors, and of the materials that they are made from."""

    def finish(outputs: Sequence[Array], photos: Pixels) -> Sequence[Array]:
        rows = materials.describe(materials.Maps(*outputs[1:]), photos)
        return head.project(rows), rows

    fields: dict[str, Shape] = {"vectors": ((head.dim,), "float16"), MATERIALS: _of_materials(sheet)}
    return NetworkExtractor(engine, sheet, fields, finish)


def of_twins(engine: Engine, sheet: Sheet) -> NetworkExtractor:
    """Return the extractor of a twin network's vectors, and of the parts that its head compares, if it does."""
    return NetworkExtractor(engine, sheet, sheet.outputs, lambda outputs, _: outputs)


def _of_materials(sheet: Sheet) -> Shape:
    channels = [sheet.outputs[name][0][0] for name in ("fine", "coarse")]
    return (materials.length(*channels),), "int8"
