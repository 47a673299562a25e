"""Find a bare backbone's network: converted to ONNX once, kept in the cache, and run without torch from then on."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samespace.base.arrays import Array
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.base.once import compute_once, default_cache, written_whole
from samespace.base.photos import SIZE, Pixels
from samespace.model import hub
from samespace.model.engine import OPSET, OnnxEngine, Sheet, has_runtime
from samespace.model.extract import NetworkExtractor, of_backbone
from samespace.model.names import is_known, unknown
from samespace.model.preprocessing import FILES

_STATED = '{"size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "layout": "NCHW"}'
_VERSION = "graph 1"  # another one for whatever changes what is converted
_NETWORK, _SHEET = "network.onnx", "sheet.json"
_NEEDS = "{} must be converted once, by torch and onnx: pip install 'samespace[{}]'"


def for_backbone(name: str, weights: str = "imagenet") -> NetworkExtractor:
    """Return the extractor of a backbone: of torchvision or Hugging Face by name, or an ONNX file by its path.

    `weights` of a name are "imagenet", "none" (random, seeded) or a state-dict file; a model of Hugging Face's, by its
    folder or its name on the Hub, has weights of its own for "imagenet". Where ONNX Runtime or what writes
    ONNX is missing, as on Determined's image, torch runs it.
    """
    if name.endswith(".onnx"):
        return _from_file(Path(name))
    if not has_runtime() or not (_folder(name, weights).exists() or _can_convert(name)):
        return _by_torch(name, weights)
    folder = convert(name, weights)
    path = folder / _NETWORK
    try:
        said, content = json.loads((folder / _SHEET).read_text()), path.read_bytes()
        if hashlib.sha256(content).hexdigest() != said["sha256"]:
            raise ValueError("the network has changed")
        sheet = Sheet.from_json(said)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SameSpaceError(f"{folder} is damaged ({error}): delete it, and it is made again") from error
    return of_backbone(OnnxEngine(content, path, sheet), sheet)


def why_lacking(name: str) -> str:
    """Return why a backbone of ImageNet weights cannot be used here; "" if it can."""
    if find_spec("torch") or (_folder(name, "imagenet").exists() and has_runtime()):
        return ""
    return str(_lacking(name))


def convert(name: str, weights: str = "imagenet") -> Path:
    """Convert a backbone to ONNX unless that has been done; return the folder that it is kept in."""
    folder = _folder(name, weights)
    if not folder.exists():
        if not _can_convert(name):
            raise _lacking(name)
        _convert(name, weights, folder)
    return folder


def _folder(name: str, weights: str) -> Path:
    is_named = weights in ("imagenet", "none") or not Path(weights).is_file()
    what = _content_of(Path(name)) if hub.is_named(name) and Path(name).is_dir() else name
    kept = f"{_VERSION} {what} {weights if is_named else content_hash(Path(weights))}"
    # A name that was typed may hold bytes that are no text.
    return default_cache() / "backbones" / hashlib.sha256(kept.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _content_of(folder: Path) -> str:
    """Return what tells a folder of Hugging Face's from others, wherever it is: hashes of all that is read of it."""
    read = [*folder.glob("config.json"), *(folder / name for name in FILES), *hub.weights_in(folder)]
    return " ".join(f"{path.name} {content_hash(path)}" for path in read if path.is_file())


def _can_convert(name: str) -> bool:
    source = "transformers" if hub.is_named(name) else "torchvision"
    return all(find_spec(package) for package in ("torch", source, "onnx"))


def _lacking(name: str) -> SameSpaceError:
    """Return what to raise where a backbone cannot be converted, or cannot be one."""
    if not is_known(name):
        return unknown(name)
    if Path(name).is_file():
        return SameSpaceError(f"{name} is not a backbone: give a name, a folder, or a network in an .onnx file")
    return SameSpaceError(_NEEDS.format(name, "train,clip" if hub.is_named(name) else "train"))


def _by_torch(name: str, weights: str) -> NetworkExtractor:
    try:
        import torch
    except ImportError as error:
        raise _lacking(name) from error
    from samespace.model import torch_engine
    from samespace.model.backbone import make_backbone

    return torch_engine.of_backbone(make_backbone(name, weights).to("cuda" if torch.cuda.is_available() else "cpu"))


def _convert(name: str, weights: str, folder: Path) -> None:
    from samespace.model import graphs
    from samespace.model.backbone import make_backbone

    def write() -> None:
        graph = graphs.of_backbone(make_backbone(name, weights))
        content = graphs.to_onnx(graph)
        about = {"backbone": name, "opset": OPSET, "sha256": hashlib.sha256(content).hexdigest()}
        with written_whole(folder, "a converted backbone") as partial:
            (partial / _NETWORK).write_bytes(content)
            (partial / _SHEET).write_text(json.dumps({**about, **graph.sheet.to_json()}, indent=2))

    compute_once(folder, "converted backbone", 0, write, lambda _: None)


def _from_file(path: Path) -> NetworkExtractor:
    """Return the extractor of a person's own ONNX file, whose preprocessing the JSON file beside it states."""
    try:
        content, stated = path.read_bytes(), path.with_suffix(".json").read_bytes()
    except OSError as error:
        raise SameSpaceError(
            f"cannot read {error.filename} ({error.strerror}): a backbone is NAME.onnx and, beside it, NAME.json such "
            f"as {_STATED}"
        ) from error
    engine = _Prepared(OnnxEngine(content, path), path, stated)
    (row,) = engine(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    fingerprint = hashlib.sha256(b"onnx 1" + hashlib.sha256(content).digest() + stated).hexdigest()[:16]
    return of_backbone(engine, Sheet({"vectors": (row.shape[1:], "float32")}, fingerprint))


class _Prepared:
    """An engine of somebody else's network, which wants photos scaled and normalised as its JSON says."""

    def __init__(self, engine: OnnxEngine, path: Path, stated: bytes) -> None:
        self._engine, self._path = engine, path
        self.name, self.workers, self.photos = engine.name, engine.workers, engine.photos
        try:
            said: dict[str, Any] = json.loads(stated)
            self._size, self._is_first = int(said["size"]), {"NCHW": True, "NHWC": False}[said.get("layout", "NCHW")]
            self._mean, self._std = (np.array(said[name], np.float32).reshape(3) for name in ("mean", "std"))
            if not (16 <= self._size <= 2048 and np.isfinite(self._mean).all() and (self._std > 0).all()):
                raise ValueError("a number is out of range")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise SameSpaceError(
                f"{path.with_suffix('.json')} does not say the size, mean, std and layout (NCHW or NHWC) that "
                f"{path.name} takes: {_STATED} is an example"
            ) from error

    def __call__(self, photos: Pixels) -> list[Array]:
        size = (self._size, self._size)
        scaled = np.stack([cv2.resize(photo, size, interpolation=cv2.INTER_AREA) for photo in photos])
        values: Array = (scaled.astype(np.float32) / 255 - self._mean) / self._std
        if self._is_first:
            values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        try:
            found = self._engine(values)[0]
        except SameSpaceError:
            raise
        except Exception as error:  # the runtime's own have no common type
            raise SameSpaceError(
                f"{self._path} does not take {len(photos)} photos as {self._path.stem}.json says: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if found.ndim == 4:  # maps of channels: their means are what classifiers use
            found = found.mean((2, 3))
        if found.ndim != 2 or len(found) != len(photos):
            raise SameSpaceError(
                f"{self._path} gives {found.shape} for {len(photos)} photos: it must give one row each"
            )
        return [found]
