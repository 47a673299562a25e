"""Run a network on photos: the engine that does it without torch, and what is known of a network before it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from samespace.base.arrays import Array
from samespace.base.errors import SameSpaceError
from samespace.base.photos import Pixels

OPSET = 17  # of the ONNX files that are written: ONNX Runtime 1.13 and OpenVINO 2022.3 read it
Shape = tuple[tuple[int, ...], str]  # of one photo, and a numpy dtype

_TYPES = {"float32": "float", "float16": "float16", "int8": "int8"}  # as ONNX calls them


class Sheet(NamedTuple):
    """Say what is known of a network that runs on photos (N, 256, 256, 3) of 0..255."""

    outputs: dict[str, Shape]
    fingerprint: str  # of what is kept of a photo
    of_materials: str = ""  # of the materials that are kept, if it sees any
    former: tuple[str, ...] = ()  # fingerprints that earlier versions gave to what is kept

    @property
    def of_graph(self) -> str:
        """Return what tells a graph from others: where rooms are compared, it is the one that materials are seen by."""
        return f"{self.of_materials or self.fingerprint} {self.outputs}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return self._asdict()

    @staticmethod
    def from_json(said: dict[str, Any]) -> Sheet:
        """Return the sheet that was written so; raise KeyError, TypeError or ValueError for anything else."""
        outputs: dict[str, Shape] = {}
        for name, (shape, dtype) in said["outputs"].items():
            if dtype not in _TYPES or not all(0 < int(size) <= 1 << 20 for size in shape):
                raise ValueError(f"{name} cannot be {dtype} of {shape}")
            outputs[name] = tuple(map(int, shape)), dtype
        return Sheet(outputs, str(said["fingerprint"]), str(said["of_materials"]), tuple(map(str, said["former"])))


class Engine(Protocol):
    """Anything that runs one network on photos; any thread may call it."""

    @property
    def name(self) -> str:
        """Return its name, for a person to read."""

    @property
    def workers(self) -> int:
        """Return how many threads should call it at once."""

    @property
    def photos(self) -> int:
        """Return how many photos it takes in a call."""

    def __call__(self, photos: Pixels) -> Sequence[Array]:
        """Return the network's outputs for so many photos, N rows each."""


class OnnxEngine:
    """Runs a network from an ONNX file by ONNX Runtime, on the GPU if the runtime has one.

    The file is data: it names known operations, and nothing in it is run as code.
    """

    def __init__(self, content: bytes, source: Path, sheet: Sheet | None = None) -> None:
        """Take the bytes of the ONNX file at `source`; nothing is prepared before the first photos.

        It must have the outputs that the sheet names; without a sheet it is somebody else's, and has any.
        """
        self._content, self._source, self._sheet = content, source, sheet
        self._on_gpu = "CUDAExecutionProvider" in runtime().get_available_providers()
        # One thread for each few photos: threads that share them wait for each other whenever a decoder takes a core.
        self.workers = 1 if self._on_gpu else cores()
        self.photos = 128 if self._on_gpu else 4  # a CPU core's cache holds the maps of about four

    @property
    def name(self) -> str:
        return "ONNX Runtime on a GPU" if self._on_gpu else f"ONNX Runtime, {self.workers} at once"

    def __call__(self, photos: Array) -> Sequence[Array]:
        found: Sequence[Array] = self._session.run(None, {self._input: photos})
        return found

    @cached_property
    def _input(self) -> str:
        return str(self._session.get_inputs()[0].name)

    @cached_property
    def _session(self) -> Any:
        options = runtime().SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors, which are raised as well
        # TensorFloat-32 would give other answers than a CPU, and decoding is the bottleneck anyway.
        gpu = [("CUDAExecutionProvider", {"use_tf32": "0"})] if self._on_gpu else []
        try:
            session = runtime().InferenceSession(self._content, options, [*gpu, "CPUExecutionProvider"])
        except Exception as error:  # the runtime's own have no common type
            raise SameSpaceError(
                f"{self._source} is not a network that ONNX Runtime {runtime().__version__} can run: export it again"
            ) from error
        if self._sheet and not _has_outputs(session, self._sheet):
            raise SameSpaceError(f"{self._source} is another network than is said beside it: export it again")
        return session


def _has_outputs(session: Any, sheet: Sheet) -> bool:
    """Tell if a network gives what its sheet says, as far as it knows: some sizes have names until it runs."""
    given = {output.name: (output.shape[1:], output.type) for output in session.get_outputs()}
    return list(given) == list(sheet.outputs) and all(
        len(given[name][0]) == len(shape)
        and all(size == said for size, said in zip(given[name][0], shape, strict=True) if isinstance(size, int))
        and given[name][1] == f"tensor({_TYPES[dtype]})"
        for name, (shape, dtype) in sheet.outputs.items()
    )


def runtime() -> Any:
    """Return the package onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SameSpaceError("running a network needs ONNX Runtime: pip install onnxruntime") from error
    onnxruntime.disable_telemetry_events()  # what Windows builds tell their makers
    return onnxruntime


def has_runtime() -> bool:
    """Tell if ONNX Runtime is installed; Determined's image has torch instead."""
    try:
        runtime()
    except SameSpaceError:
        return False
    return True


def cores() -> int:
    """Return how many threads may work at once: the cores that this process may use, or fewer if it is told so."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(told) if told.isdigit() and int(told) else allowed
