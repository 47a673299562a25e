"""Read weights from files that anybody may have written: tensors alone, and no code that comes with them."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from samespace.base.errors import SameSpaceError

State = dict[str, Tensor]  # tensors by the names of layers

# Before 2.6 `weights_only=True` could be made to run code (CVE-2025-32434).
UNPICKLES_SAFELY = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)


def fetch_imagenet(name: str) -> State:
    """Return ImageNet weights of a torchvision network, from torch's cache or else from the network.

    A file in the cache is read only if its bytes have the hash that torchvision published.
    """
    import torchvision  # takes as long as torch itself

    url = torchvision.models.get_model_weights(name).DEFAULT.url
    path = Path(torch.hub.get_dir(), "checkpoints", _file_of(url))
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), _hash_in(path.name), progress=False)
        content = path.read_bytes()
    except (URLError, OSError, RuntimeError) as error:
        raise SameSpaceError(
            f"could not fetch ImageNet weights for {name} from {url} ({error}): "
            "give --weights, or `weights` in a YAML file, the path of a downloaded state dict, or none for random ones"
        ) from error
    if not _is_named_by_hash(content, path.name):
        raise SameSpaceError(f"{path} is not the file that torchvision published: delete it, and it is fetched again")
    return _unpickled(content, path)


def read_state(path: Path, name: str) -> State:
    """Return the state dict in a file, of safetensors or of `torch.save`, with weights of a torchvision network.

    If torch is too old to unpickle safely, only safetensors and files that torchvision published are read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SameSpaceError(
            f"no weights file at {path}: give `imagenet`, `none` or the path of a state dict"
        ) from error
    except OSError as error:
        raise SameSpaceError(f"{path} cannot be read ({error.strerror}): give the path of a state dict") from error
    if path.suffix != ".safetensors":
        if not (UNPICKLES_SAFELY or _is_published(content, name)):
            raise SameSpaceError(
                f"{path} could run code, and torch {torch.__version__} would let it: save the tensors as .safetensors, "
                "or install torch 2.6 or later"
            )
        return _unpickled(content, path)
    try:
        return load_safetensors(content)
    except Exception as error:  # safetensors has an exception of its own for each kind of damage
        raise SameSpaceError(f"{path} is damaged or not a file of safetensors: copy it again") from error


def _unpickled(content: bytes, path: Path) -> State:
    try:
        state = torch.load(BytesIO(content), "cpu", weights_only=True)
    except Exception as error:
        # Damaged data makes torch raise nearly anything: a text file may end in IndexError, KeyError or struct.error.
        raise SameSpaceError(f"{path} is damaged or not a state dict of tensors: save one with torch.save") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SameSpaceError(f"{path} is not a state dict: it must map layer names to tensors")
    return state


def _is_published(content: bytes, name: str) -> bool:
    """Return whether these are the bytes of weights that torchvision published for a network."""
    import torchvision

    published = torchvision.models.get_model_weights(name)
    return any(_is_named_by_hash(content, _file_of(weights.url)) for weights in published)


def _file_of(url: str) -> str:
    return url.rpartition("/")[2]


def _hash_in(file: str) -> str:
    """Return the first digits of a file's SHA-256, which its name holds: resnet50-11ad3fa6.pth."""
    return file.rpartition("-")[2].partition(".")[0]


def _is_named_by_hash(content: bytes, file: str) -> bool:
    return hashlib.sha256(content).hexdigest().startswith(_hash_in(file))
