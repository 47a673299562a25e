"""Run a bare backbone or a trained model on photos, on the fastest engine of this machine: what a scan does."""

from __future__ import annotations

import hashlib
import queue
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samespace.base.arrays import Array
from samespace.base.photos import Pixels
from samespace.model import materials
from samespace.model.backbone import SIZE, Backbone, make_backbone
from samespace.model.colours import DIM, colours
from samespace.model.feature_bank import frozen_maps
from samespace.model.network import TwinNetwork
from samespace.model.projection import MATERIALS
from samespace.model.room_network import RoomNetwork
from samespace.model.saved import Model, load

_REPORTER = "openvino_telemetry"

Columns = tuple[Tensor, ...]
Fields = dict[str, tuple[tuple[int, ...], str]]


class NetworkExtractor:
    """A network that turns photos into the numbers a library keeps, on all cores or the GPU; for one caller at a time.

    Nothing is converted and no thread is started before the first photos come.
    """

    def __init__(
        self,
        network: nn.Module,
        finish: Callable[[Columns, Pixels], Columns],
        fields: Fields,
        fingerprint: str,
        former: Callable[[], tuple[str, ...]] = tuple,
        of_materials: str = "",
    ) -> None:
        """Take a network for photos (N, S, S, 3) of 0..255, and what makes the columns of `fields` from its output.

        `finish` gets the photos beside the output. A column of colours is added, for which no network is needed.
        `former` returns the fingerprints that earlier versions gave to the same numbers. A field of materials has a
        fingerprint of its own, `of_materials`.
        """
        self._network, self._finish = network, finish
        self._columns: Fields = {"colours": ((DIM,), "uint8"), **fields}
        self.fields: Fields = {name: field for name, field in self._columns.items() if name != MATERIALS}
        self.fingerprint, self._former = fingerprint, former
        self._latest: tuple[Pixels | None, dict[str, Array]] = None, {}
        self._device = next(network.parameters()).device
        on_cpu = self._device.type == "cpu"
        # One thread for each photo: threads that shared one would wait for each other whenever a decoder takes a core.
        self._workers = torch.get_num_threads() if on_cpu else 1
        # A CPU core's cache holds the maps of about four photos.
        self._chunk = 4 if on_cpu else 128
        self.batch = max(32, 2 * self._chunk * self._workers)
        self.materials = Materials(self, fields[MATERIALS], of_materials) if MATERIALS in fields else None

    @property
    def name(self) -> str:
        """Return the engine's name, for a person to read."""
        if self._device.type == "cpu":
            engine = "OpenVINO" if openvino() else "PyTorch"
            return f"{engine}, {self._workers} at once"
        return f"PyTorch on {torch.cuda.get_device_name(self._device)}"

    @cached_property
    def former(self) -> tuple[str, ...]:
        """Return the fingerprints that earlier versions gave to these numbers."""
        return self._former()

    def extract(self, pixels: Pixels) -> dict[str, Array]:
        """Return an array of N rows for each field; a photo's row does not depend on the others in its batch."""
        columns = self.columns(pixels)
        return {name: columns[name] for name in self.fields}

    def columns(self, pixels: Pixels) -> dict[str, Array]:
        """Return all that one pass gives; if asked twice about one array, it passes once."""
        if self._latest[0] is not pixels:
            self._latest = pixels, self._pass(pixels)
        return self._latest[1]

    def _pass(self, pixels: Pixels) -> dict[str, Array]:
        found = {name: np.empty((len(pixels), *shape), dtype) for name, (shape, dtype) in self._columns.items()}
        starts = range(0, len(pixels), self._chunk)
        chunks = self._pool.map(partial(self._extract, self._run), (pixels[at : at + self._chunk] for at in starts))
        for at, columns in zip(starts, chunks, strict=True):
            for column, rows in zip(columns, found.values(), strict=False):
                rows[at : at + self._chunk] = column[: len(rows) - at]
        return found

    @torch.no_grad()
    def _extract(self, run: Callable[[Pixels], Columns], chunk: Pixels) -> list[Array]:
        seen = colours(chunk)
        # Always the same number of photos: a convolution takes other ways for other sizes, and rounds differently.
        missing = self._chunk - len(chunk)
        chunk = np.pad(chunk, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else np.ascontiguousarray(chunk)
        return [seen, *(column.cpu().numpy() for column in run(chunk))]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, initializer=torch.set_num_threads, initargs=(1,))

    @cached_property
    def _run(self) -> Callable[[Pixels], Columns]:
        if self._device.type == "cuda":
            return self._on_cuda
        return self._in_openvino() if openvino() else self._in_torch

    def _in_torch(self, chunk: Pixels) -> Columns:
        return self._finish(self._network(torch.from_numpy(chunk)), chunk)

    def _on_cuda(self, chunk: Pixels) -> Columns:
        pixels = torch.from_numpy(chunk).pin_memory().to(self._device, non_blocking=True)
        # TensorFloat-32 would give other answers than a CPU, and decoding is the bottleneck anyway.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            return self._finish(self._network(pixels), chunk)

    def _in_openvino(self) -> Callable[[Pixels], Columns]:
        model = convert(self._network, self._chunk)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default rounds to bfloat16 and moves cosines by 0.05
            "NUM_STREAMS": self._workers,
            "INFERENCE_NUM_THREADS": self._workers,
            "ENABLE_CPU_PINNING": False,  # decoders need these cores, too
        }
        compiled = openvino().Core().compile_model(model, "CPU", settings)
        idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self._workers):
            idle.put(compiled.create_infer_request())

        def run(chunk: Pixels) -> Columns:
            request = idle.get()
            try:
                return self._finish(tuple(torch.from_numpy(column) for column in request.infer(chunk).values()), chunk)
            finally:
                idle.put(request)

        return run


class Materials:
    """An extractor of what photos are made of (see materials.py), from the pass that gives their vectors.

    Its fingerprint is its own, because libraries of 0.1 have vectors without it, and models share it that share a
    backbone.
    """

    def __init__(self, source: NetworkExtractor, field: tuple[tuple[int, ...], str], fingerprint: str) -> None:
        self._source, self.batch = source, source.batch
        self.fields: Fields = {MATERIALS: field}
        self.fingerprint = fingerprint

    def extract(self, pixels: Pixels) -> dict[str, Array]:
        """Return the materials of photos (N, S, S, 3), (N, D)."""
        return {MATERIALS: self._source.columns(pixels)[MATERIALS]}


def for_backbone(name: str, weights: str = "imagenet") -> NetworkExtractor:
    """Return the extractor of a bare backbone's vectors, which are neither whitened nor of length 1.

    It computes in float32 on every processor, so that vectors from several machines fit together. Earlier versions used
    bfloat16 on CPUs that multiply it, twice as fast, and gave each precision a fingerprint of its own.
    """
    return of_backbone(make_backbone(name, weights).to(_device()))


def of_backbone(backbone: Backbone) -> NetworkExtractor:
    """Return the extractor of this backbone's vectors."""

    def finish(columns: Columns, pixels: Pixels) -> Columns:
        vectors, *maps = columns
        return vectors.half(), torch.from_numpy(materials.describe(materials.Maps(*maps), pixels))

    def former() -> tuple[str, ...]:
        return tuple(_fingerprint(kind, backbone, state) for kind in ("trunk float32", "trunk bfloat16"))

    state = backbone.state_dict()
    network = _Embedding(backbone)
    dim, width = _measure(network)
    fields: Fields = {"vectors": ((dim,), "float16"), MATERIALS: ((width,), "int8")}
    fingerprint = _fingerprint("trunk", backbone, state)
    return NetworkExtractor(network, finish, fields, fingerprint, former, _of_materials(backbone))


def for_model(model: Model | str | Path) -> NetworkExtractor:
    """Return the extractor of what `Model.embed` returns, for a model or its folder."""
    network = (model if isinstance(model, Model) else load(model, _device())).network
    return _for_rooms(network) if isinstance(network, RoomNetwork) else _for_twins(network)


def _for_rooms(network: RoomNetwork) -> NetworkExtractor:
    """Return the extractor of a model's vectors, and of the materials that they are made from."""

    def finish(columns: Columns, pixels: Pixels) -> Columns:
        rows = materials.describe(materials.Maps(*columns[1:]), pixels)
        return torch.from_numpy(network.project(rows)), torch.from_numpy(rows)

    backbone = network.backbone
    seen = _Embedding(backbone)
    _, width = _measure(seen)
    fields: Fields = {"vectors": ((network.matrix.shape[1],), "float16"), MATERIALS: ((width,), "int8")}
    # The odds weigh what was kept, so with others nothing needs to be extracted again.
    kept = {**backbone.state_dict(), **dict(network.named_buffers(recurse=False))}
    fingerprint = _fingerprint("rooms", backbone, kept)
    return NetworkExtractor(seen, finish, fields, fingerprint, of_materials=_of_materials(backbone))


def _for_twins(network: TwinNetwork) -> NetworkExtractor:
    backbone = network.backbone

    def finish(maps: Columns, _: Pixels) -> Columns:
        vectors, parts = network.embed_frozen(network.freeze(*maps))
        return vectors.half(), parts

    with torch.no_grad():
        maps = frozen_maps(torch.zeros(1, 3, SIZE, SIZE, device=_device_of(backbone)), backbone)
        columns = finish(maps, np.empty((0, SIZE, SIZE, 3), np.uint8))
    shapes = [tuple(column.shape[1:]) for column in columns]
    fields: Fields = {"vectors": (shapes[0], "float16")}
    if shapes[1][0]:
        fields["parts"] = (shapes[1], "int8")
    # The head compares what was kept, so with another head nothing needs to be extracted again.
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    return NetworkExtractor(_Maps(backbone), finish, fields, _fingerprint("model", backbone, kept))


def _of_materials(backbone: Backbone) -> str:
    """Return the fingerprint of materials that a backbone sees."""
    trunk = _fingerprint("trunk", backbone, backbone.state_dict())
    return hashlib.sha256(f"{materials.VERSION} {trunk}".encode()).hexdigest()[:16]


@torch.no_grad()
def _measure(network: _Embedding) -> tuple[int, int]:
    """Return how many numbers a vector has, and a photo's materials."""
    vectors, *maps = network(torch.zeros(1, SIZE, SIZE, 3, device=_device_of(network.backbone)))
    return vectors.shape[1], materials.length(materials.Maps(*maps))


class _Embedding(nn.Module):
    """A bare backbone: photos (N, S, S, 3) → embeddings, and the maps that materials are described by."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, photos: Tensor) -> Columns:
        pixels = photos.permute(0, 3, 1, 2)
        stages = self.backbone.stages(pixels)
        vectors = self.backbone.last(self.backbone.middle(stages[-1]))
        return (vectors, *materials.see(pixels, stages))


class _Maps(nn.Module):
    """The frozen half of a backbone: photos (N, S, S, 3) → maps, rounded as in training.

    A whole model would lose the rounding when it is converted, and some probabilities would move by 0.04.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, photos: Tensor) -> Columns:
        return frozen_maps(photos.permute(0, 3, 1, 2), self.backbone)


@cache
def openvino() -> Any:
    """Return the package openvino, or None if it is not installed.

    Importing it reports to Google Analytics, from a process that may outlive this one, unless the package that reports
    is missing. So that package is hidden while the import lasts.
    """
    before = sys.modules.get(_REPORTER)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # its import fails
    try:
        import openvino as package
    except ImportError:
        return None
    finally:
        del sys.modules[_REPORTER]
        if before is not None:
            sys.modules[_REPORTER] = before
    return package


def convert(network: nn.Module, photos: int) -> Any:
    """Convert a network to OpenVINO's format, for this many photos of 0..255 at once.

    OpenVINO's own `convert_model` does the same, and reports to Google Analytics.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    shape = (photos, SIZE, SIZE, 3)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing turns the means into constants, as it should
        pixels = torch.zeros(shape, dtype=torch.uint8)
        traced = torch.jit.trace(network, pixels, check_trace=False)  # type: ignore[no-untyped-call]
    reader = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # kept alive here: the reader does not hold it
    model = reader.convert(reader.load(decoder))
    model.inputs[0].get_node().set_element_type(openvino().Type.u8)
    model.reshape(shape)
    return model


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _device_of(backbone: Backbone) -> torch.device:
    return next(backbone.parameters()).device


def _fingerprint(kind: str, backbone: Backbone, state: dict[str, Tensor]) -> str:
    """Return a fingerprint of all that decides the numbers; engine and processor, which only round, do not count."""
    digest = hashlib.sha256(f"{kind} {backbone.name} {SIZE} {backbone.mean} {backbone.std}".encode())
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
