"""Make a backbone by name, of torchvision or of Hugging Face: with its weights, in pieces, named by a fingerprint."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.photos import SIZE
from samespace.model import whole
from samespace.model.families import NAMES, Net
from samespace.model.hub import files_of, is_named
from samespace.model.layers import FoldedConv, merge
from samespace.model.names import CHOICES, unknown
from samespace.model.weights import fetch_imagenet, read_state
from samespace.model.whole import VisionTransformer

# Every torchvision classifier here was trained on photos scaled to 0..1, then normalised with these; Inception,
# once its own input rescaling is left out, and one EfficientNet, with 0.5 and 0.5.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION_MEAN, INCEPTION_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_AS_INCEPTION = ("inception_v3", "efficientnet_v2_l")


class Backbone(nn.Module):
    """A classifier without its last layer, in three pieces that run one after another.

    early:  photo (N, 3, S, S) → a map at a sixteenth of its size, whose cells are the photo's parts
    middle: → what the last convolution sees, or the residual block that it is in
    last:   → embedding (N, dim); all that learns when `trainable` is `last_conv`
    """

    has_last = True  # a last part that can learn by itself
    about: dict[str, Any] | None = None  # what it takes to make it again besides its name, for JSON

    def __init__(self, name: str, early: nn.Module, middle: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.early, self.middle, self.last = early, middle, last
        inception = name in _AS_INCEPTION
        self.mean: tuple[float, ...] = INCEPTION_MEAN if inception else IMAGENET_MEAN
        self.std: tuple[float, ...] = INCEPTION_STD if inception else IMAGENET_STD

    def normalise(self, pixels: Tensor) -> Tensor:
        """Scale photos (N, 3, S, S) of 0..255 to what the network was trained on."""
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return (pixels.float() / 255 - mean) / std

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn photos (N, 3, S, S) of 0..255 into embeddings (N, dim)."""
        return self.last(self.frozen(pixels)[1])

    def frozen(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what never learns of photos (N, 3, S, S) of 0..255: parts, and what the last convolution sees."""
        parts = self.early(self.normalise(pixels).contiguous(memory_format=torch.channels_last))
        return parts, self.middle(parts)

    def see(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return embeddings (N, dim) and `stages` of photos (N, 3, S, S) of 0..255, in one pass."""
        stages = self.stages(pixels)
        return self.last(self.middle(stages[-1])), stages

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """Return the early half's last maps at each of its three smallest sizes, the largest first.

        For photos (N, 3, S, S) of 0..255 they are about a quarter, an eighth and a sixteenth of the photo's size.
        """
        maps = self.normalise(pixels).contiguous(memory_format=torch.channels_last)
        by_size: dict[int, Tensor] = {}
        for layer in cast(nn.Sequential, self.early):
            maps = layer(maps)
            by_size[int(maps.shape[-1])] = maps  # a tensor while the network is traced
        return [by_size[size] for size in sorted(by_size)[2::-1]]

    def shapes(self) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
        """Return shapes for one photo: parts (C, h, w), what the last convolution sees (C, h, w), and the size dim."""
        device = next(self.parameters()).device
        with torch.no_grad():
            parts, seen = self.frozen(torch.zeros(1, 3, SIZE, SIZE, device=device))
            return _shape(parts), _shape(seen), int(self.last(seen).shape[1])

    @property
    def identity(self) -> str:
        """Return in words what decides its numbers beside its weights."""
        return f"{self.name} {SIZE} {self.mean} {self.std}"

    def fingerprint(self) -> str:
        """Return a fingerprint of the frozen half: its weights, its cut, and the size that photos are squeezed to."""
        digest = hashlib.sha256(self.identity.encode())
        for piece in (self.early, self.middle):
            for name, value in piece.state_dict().items():
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def _shape(maps: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = maps.shape
    return channels, height, width


class Whole(Backbone):
    """A backbone whose network gives maps and embedding at once (see whole.py); nothing of it can learn by itself."""

    has_last = False

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__(name, network, nn.Identity(), nn.Flatten())

    def see(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        *stages, vectors = self.early(self.normalise(pixels))
        return vectors, stages

    def stages(self, pixels: Tensor) -> list[Tensor]:
        return self.see(pixels)[1]

    def frozen(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        vectors, stages = self.see(pixels)
        return stages[-1], vectors[:, :, None, None]

    @property
    def identity(self) -> str:
        # A folder of Hugging Face may be anywhere and have any name.
        about = f"whole 1 {json.dumps(self.about, sort_keys=True)} {SIZE} {self.mean} {self.std}"
        return about if self.about else super().identity


def make_backbone(name: str, weights: str = "imagenet") -> Backbone:
    """Return the backbone called `name` with `weights`: "imagenet", "none" (random, seeded) or a state-dict file.

    A model of Hugging Face's, which is named by its folder or as on the Hub, has weights of its own for "imagenet".
    """
    if is_named(name):
        return _pretrained(name, weights)
    if weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = _torchvisions(name)
            _initialise(net)
    else:
        net = _unfilled(name)
        state = fetch_imagenet(name) if weights == "imagenet" else read_state(Path(weights), name)
        _load(net, state, name, weights)
    return _cut(net, name)


def make_unfilled_backbone(name: str, about: dict[str, Any] | None = None) -> Backbone:
    """Return the backbone called `name`, whose weights are still to be loaded: quicker than with random ones.

    `about` is what one of Hugging Face's says of itself; then neither its files nor a network are needed.
    """
    if about is None:
        return _pretrained(name, "none") if is_named(name) else _cut(_unfilled(name), name)
    try:
        about = {name: kind(about[name]) for name, kind in (("config", dict), ("side", int), ("resample", int))}
        if not 8 <= about["side"] <= 2048:
            raise ValueError("a number is out of range")
    except TypeError as error:
        raise ValueError("it says nothing of its backbone") from error
    return _about(Whole(name, whole.unfilled(about, name)), about)


def _pretrained(name: str, weights: str) -> Backbone:
    if weights not in ("imagenet", "none"):
        raise SameSpaceError(f"{name} has weights of its own: leave out weights, or give none for random ones")
    files = files_of(name)
    about, mean, std = whole.described(files)
    network = whole.opened(files, about) if weights == "imagenet" else whole.unfilled(about, name)
    backbone = _about(Whole(Path(name).name if Path(name).is_dir() else name, network), about)
    backbone.mean, backbone.std = mean, std
    return backbone


def _about(backbone: Backbone, about: dict[str, Any]) -> Backbone:
    backbone.about = about
    return backbone.eval()


def _torchvisions(name: str) -> Net:
    if name not in NAMES:
        raise unknown(name)
    import torchvision  # takes as long as torch itself

    options = {"transform_input": False, "init_weights": False} if name == "inception_v3" else {}
    return torchvision.models.get_model(name, weights=None, **options)


def _unfilled(name: str) -> Net:
    if name.startswith(("regnet_", "swin_")):  # their sizes, and their tables of positions, are computed as tensors
        return _torchvisions(name)
    with torch.device("meta"):
        net = _torchvisions(name)
    return net.to_empty(device="cpu")


def _cut(net: Net, name: str) -> Backbone:
    cut = NAMES[name]
    if cut is None:
        return Whole(name, VisionTransformer(net)).eval()
    early, middle, last = cut(net.eval())
    early, middle = (merge(piece, fuse_conv_bn_eval) for piece in (early, middle))
    backbone = Backbone(name, early, middle, merge(last, FoldedConv)).eval()
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _initialise(net: nn.Module) -> None:
    """Draw random weights; torchvision's own, without batch norm in training mode, vanish in half precision."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)


def _load(net: Net, state: dict[str, Tensor], name: str, source: str) -> None:
    """Load all weights but those of the classifier's last layer and of auxiliary heads, which a backbone lacks."""
    classifier = f"classifier.{len(net.classifier) - 1}." if hasattr(net, "classifier") else "fc."
    unused = (classifier, "head.", "heads.", "AuxLogits.")  # the last layer is called what its family calls it
    wanted = {key: value for key, value in net.state_dict().items() if not key.startswith(unused)}
    given = {key: value for key, value in state.items() if not key.startswith(unused)}
    strange = sorted(
        {key for key in wanted.keys() ^ given.keys() if not key.endswith("num_batches_tracked")}
        | {key for key in wanted.keys() & given.keys() if wanted[key].shape != given[key].shape}
    )
    if strange:
        raise SameSpaceError(
            f"{source} does not hold weights of {name}: {len(strange)} layers differ, the first is {strange[0]}"
        )
    if not all(value.isfinite().all() for value in given.values()):
        raise SameSpaceError(f"{source} holds values that are not finite: fetch the file again")
    net.load_state_dict(given, strict=False)


def main(words: Sequence[str] | None = None) -> int:
    """Fetch a backbone's weights into torch's or Hugging Face's cache, so that training needs no network later."""
    parser = argparse.ArgumentParser(prog="python -m samespace.model.backbone", description=main.__doc__)
    parser.add_argument("name", metavar="NAME", help=CHOICES)
    name = parser.parse_args(words).name
    return exit_status(lambda: make_backbone(name))


if __name__ == "__main__":
    sys.exit(main())
